"""Why there is no text: the codes of error rows and of failed attempts, each with what it means.

An attempt may also fail with the `code` of an UnembedError (unembed/errors.py). The table in docs/api.md is made from
both.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Scope = Literal["row", "batch", "row, batch"]


class FailureCode(StrEnum):
    """A row's `error_code`, or a batch's; the rows of a dead batch have its batch's."""

    scope: Scope  # what has the code: a single row, or a batch that failed as a whole
    meaning: str

    def __new__(cls, value: str, scope: Scope, meaning: str) -> FailureCode:
        code = str.__new__(cls, value)
        code._value_ = value
        code.scope, code.meaning = scope, meaning
        return code

    NO_VECTOR = "no_vector", "row", "The row holds no vector: null, missing, damaged, or of another dimension than most"
    NOT_FINITE = "not_finite", "row", "The vector has values that are NaN or infinite"
    ZERO_VECTOR = "zero_vector", "row", "All values of the vector are zero, so it has no direction"
    NO_PHRASE = "no_phrase", "row", "No phrase of the phrase bank is near enough to the vector"
    NO_ANSWER = "no_answer", "row", "Neither the decoder nor the phrase bank of a hybrid has an answer"
    DECODE_FAILED = "decode_failed", "row, batch", "The decoder failed at this row, or at the whole batch"
    OUT_OF_MEMORY = "out_of_memory", "batch", "Not even one row fits into the device's memory"
    TIME_LIMIT = "time_limit", "batch", "Decoding took longer than the time limit of a batch"
    LEASE_EXPIRED = "lease_expired", "batch", "The worker stopped answering, so its lease on the batch ran out"
    WORKER_LOST = "worker_lost", "batch", "The worker's process died while it decoded the batch"
    PAYLOAD_MISSING = "payload_missing", "batch", "The batch's vectors are no longer in Redis: send them again"
    PAYLOAD_DAMAGED = "payload_damaged", "batch", "The batch's vectors are not those that were sent: send them again"
    FILE_MISSING = "file_missing", "batch", "The file that the batch refers to is not there, or not where workers are"
    FILE_CHANGED = "file_changed", "batch", "The file that the batch refers to is not the one that was submitted"
