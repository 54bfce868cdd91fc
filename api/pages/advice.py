"""What to do about rows without a text, by their error's code. What a code means is said where it is defined."""

from __future__ import annotations

from typing import Final

from unembed.codes import FailureCode

_DO: Final[dict[str, str]] = {
    FailureCode.NO_VECTOR: "Look at these rows of your corpus: nothing is there, or a list of another length.",
    FailureCode.NOT_FINITE: "Look for NaN or infinity in these rows of your corpus, and embed their texts again.",
    FailureCode.ZERO_VECTOR: "Embed these rows again: they were never filled, or their texts were empty.",
    FailureCode.NO_PHRASE: "Decode with a hybrid, which falls back on a network, or lower the bank's threshold.",
    FailureCode.NO_ANSWER: "Decode these rows with the hybrid's network alone.",
    FailureCode.DECODE_FAILED: "Retry. If the same batch fails again, look into the worker's log.",
    FailureCode.OUT_OF_MEMORY: "Lower UNEMBED_MICRO_BATCH, or take a device with more memory; then retry.",
    FailureCode.TIME_LIMIT: "Submit smaller batches, or ask for fewer candidates and edits.",
    FailureCode.LEASE_EXPIRED: "Retry. If it happens often, run fewer workers a machine, or raise UNEMBED_LEASE.",
    FailureCode.WORKER_LOST: "Look into the worker's log: memory is the usual reason. Then retry.",
    FailureCode.PAYLOAD_MISSING: "Submit the corpus again under the same idempotency key: only these rows are sent.",
    FailureCode.PAYLOAD_DAMAGED: "Submit the corpus again under the same idempotency key: only these rows are sent.",
    FailureCode.FILE_MISSING: "Put the file back to where the workers read it; then retry.",
    FailureCode.FILE_CHANGED: "Put back the file that was submitted and retry, or submit the new one as another job.",
}


_MEANINGS: Final = {str(code): code.meaning for code in FailureCode}


def meaning_of(code: str) -> str | None:
    """What the code says; None for one that is not of this list, whose message says it all."""
    return _MEANINGS.get(code)


def advice_on(code: str) -> str | None:
    return _DO.get(code)
