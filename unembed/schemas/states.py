"""The states of jobs, batches and rows.

    batch   queued ──claim──▶ running ──finish──▶ done
              ▲                 │  │
              │   lease expired │  └── failed, attempts used up ──▶ dead       (kept with its last error)
              ├─────────────────┘                                   │
              └── retry, or its lost vectors are sent again ────────┘
            queued or running ── job cancelled ──▶ cancelled                   (what is done stays done)
            queued ── its vectors are no longer in Redis ──▶ dead              (payload_missing)
            running ── the file it refers to has changed ──▶ dead              (file_changed)

    job     receiving ──sealed──▶ queued ──first claim──▶ running ──▶ succeeded | partial | failed
                partial | failed ── a dead batch is queued again ──▶ running
                any that is not ended ── cancel ──▶ cancelling ── running batches have stopped ──▶ cancelled
                receiving, and nothing came for long ── as if by cancel, and says so ──▶ cancelled
                ended ── removed ──▶ gone, with its batches and rows

    row     ok | fallback (another source answered, and says so) | error (code, message)     never silently absent

A batch may be claimed while its job is still receiving: the job then goes from receiving to running when it is sealed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    RECEIVING = "receiving"  # batches may still be added
    QUEUED = "queued"  # sealed; no batch was claimed yet
    RUNNING = "running"  # sealed; at least one batch was claimed
    CANCELLING = "cancelling"  # no batch starts any more; running ones are stopping
    SUCCEEDED = "succeeded"  # every row has a text
    PARTIAL = "partial"  # some rows have a text, some are errors or were never decoded
    FAILED = "failed"  # no row has a text
    CANCELLED = "cancelled"  # ended by request, or because it was never sealed; what was done stays

    @property
    def is_ended(self) -> bool:
        return self in ENDED_JOB_STATES


ENDED_JOB_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED})


class BatchState(StrEnum):
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # an attempt holds the lease
    DONE = "done"  # its rows are written
    DEAD = "dead"  # its attempts are used up
    CANCELLED = "cancelled"  # its job was cancelled before it was done

    @property
    def is_ended(self) -> bool:
        return self in (BatchState.DONE, BatchState.DEAD, BatchState.CANCELLED)


class RowStatus(StrEnum):
    OK = "ok"  # decoded
    FALLBACK = "fallback"  # another source answered; `source` names it
    ERROR = "error"  # no text; `error_code` and `error` say why
