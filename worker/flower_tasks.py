"""What Flower shows: each attempt at a batch is a task there, under the id BATCH.ATTEMPT, and ends as it does in SQL.

    STARTED ─▶ SUCCESS   its rows are written
            ├▶ RETRY     it failed, was lost, or was handed back: the batch waits for another attempt
            ├▶ FAILURE   it failed, and was the last one: the batch is dead
            └▶ REVOKED   its job was cancelled

    IGNORED, or REVOKED where the batch that it names was cancelled: a message for which nothing was left to do, under
    its own id

These are Celery's events and states, but not those that Celery would send by itself: it tells of messages, and a
message may be delivered twice, answered with another batch, or lost with what it had begun.
"""

from __future__ import annotations

from typing import Any, Final

from unembed.models.store import Attempt
from unembed.schemas import BatchState
from unembed.worker.celery import DECODE_BATCH

Fields = dict[str, Any]

_JOB_NAME_CHARACTERS: Final = 80

RECEIVED: Final = "task-received"
STARTED: Final = "task-started"
IGNORED: Final = "task-ignored"  # no event of Celery's own; it makes the state IGNORED, which is one
REVOKED: Final = "task-revoked"

_ENDINGS: Final = {
    BatchState.DONE: "task-succeeded",
    BatchState.QUEUED: "task-retried",
    BatchState.DEAD: "task-failed",
    BatchState.CANCELLED: REVOKED,
}


def uuid_of(batch_id: str, number: int) -> str:
    """Of an attempt at a batch."""
    return f"{batch_id}.{number}"


def task_of(batch_id: str, number: int, job_name: str | None, rows: int, device: str | None) -> Fields:
    """An attempt, as it is shown in the list of tasks. Flower finds `kwargs:job=NAME` and the like."""
    job = [_short(job_name)] if job_name else []
    # A column of Flower's list has room for fifty characters: the job's name has one of its own.
    shown = {"rows": rows, "attempt": number} | ({"device": device} if device else {})
    return {
        "uuid": uuid_of(batch_id, number),
        "name": DECODE_BATCH,
        "args": repr([*job, batch_id]),
        "kwargs": repr(shown | ({"job": job[0]} if job else {})),
        "retries": number - 1,
    }


def task_of_attempt(attempt: Attempt) -> Fields:
    return task_of(attempt.batch_id, attempt.number, attempt.job_name, attempt.rows, attempt.device)


def message_of(message_id: str, batch_id: str, at: float) -> Fields:
    """A message for which nothing was left to do. `at`: in seconds since the epoch."""
    # All at once: Flower's count of the tasks that a worker has received and not started stays as it is.
    times = {"timestamp": at, "received": at, "started": at}
    return {"uuid": message_id, "name": DECODE_BATCH, "args": repr([batch_id]), "kwargs": "{}", "retries": 0, **times}


def ending(state: BatchState, *, rows: int, rows_error: int = 0, error: str | None = None) -> tuple[str, Fields]:
    """The event that ends an attempt, after which its batch is in `state`."""
    if state is BatchState.DONE:
        return _ENDINGS[state], {"result": f"{rows} rows" + (f", {rows_error} errors" if rows_error else "")}
    if state is BatchState.CANCELLED:
        return _ENDINGS[state], {"terminated": True, "signum": None, "expired": False}
    return _ENDINGS[state], {"exception": error or "the batch was handed back", "traceback": ""}


def ending_of(attempt: Attempt) -> tuple[str, Fields]:
    """The same for an attempt that has ended as the database says, with all that is to be shown of it."""
    kind, more = ending(attempt.state, rows=attempt.rows, rows_error=attempt.rows_error, error=attempt.error)
    if attempt.ended_at is not None:
        more["runtime"] = max(0.0, (attempt.ended_at - attempt.claimed_at).total_seconds())
    return kind, task_of_attempt(attempt) | began(attempt) | more


def began(attempt: Attempt) -> Fields:
    at = attempt.claimed_at.timestamp()
    return {"received": at, "started": at}


def _short(name: str) -> str:
    return name if len(name) <= _JOB_NAME_CHARACTERS else f"{name[: _JOB_NAME_CHARACTERS - 1]}…"
