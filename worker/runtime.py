"""What runs on the device: decoders, loaded once a process, and the rows of a batch, some at a time.

Rows that no decoder can read are set aside as error rows before the others are decoded. A micro-batch that does not fit
into the device's memory is halved, down to one row, and the smaller size is kept for the rest of the batch.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from unembed.corpus import Slice
from unembed.errors import DimensionError, UnembedError
from unembed.schemas import DecodeOptions, Generation, Job, RowStatus

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]  # (N, D)


class Decoder(Protocol):
    """What the runtime needs of `models.decoder.base.TextDecoder`."""

    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def embedding_dim(self) -> int: ...
    @property
    def score_ms(self) -> float: ...  # of the last call, within the time that it took

    def decode_rows(
        self, embeddings: Rows, indices: Sequence[int], options: DecodeOptions, seed: int
    ) -> list[Generation]: ...

    def peak_memory_bytes(self) -> int | None: ...


class OutOfMemoryError(UnembedError):
    """A single row does not fit into the device's memory."""

    code = "out_of_memory"


@dataclass(frozen=True)
class Decoded:
    rows: list[Generation]  # in the order of the corpus, ids filled in
    decode_ms: float  # scoring not included
    score_ms: float


class Decoders:
    """The decoders of one process, each loaded when it is first asked for."""

    def __init__(self, load: Callable[[str], Decoder]) -> None:
        self._load = load
        self._loaded: dict[str, Decoder] = {}

    def get(self, name: str) -> Decoder:
        """Raises UnknownDecoderError or CheckpointError."""
        if name not in self._loaded:
            began = time.perf_counter()
            decoder = self._loaded[name] = self._load(name)
            took = time.perf_counter() - began
            log.info("loaded %s on %s (%s) in %.1f s", name, decoder.device, decoder.dtype, took)
        return self._loaded[name]


def decode_slice(decoder: Decoder, part: Slice, job: Job, *, micro_batch: int, between: Callable[[], None]) -> Decoded:
    """Every row of the slice, in order. `between` is called before each micro-batch; what it raises passes through.

    Raises DimensionError, and OutOfMemoryError when not even one row fits.
    """
    if part.dim != decoder.embedding_dim:
        raise DimensionError.between(part.dim, decoder.embedding_dim, job.decoder)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so an error row
        embeddings = part.embeddings.astype(np.float32, copy=False)
    unreadable = _unreadable(embeddings, part.first_index)
    good = [offset for offset in range(len(part)) if offset not in unreadable]
    decoded, decode_ms, score_ms = _decode_good(decoder, embeddings, good, part.first_index, job, micro_batch, between)
    rows = unreadable | decoded
    return Decoded([_with_id(rows[offset], part, offset) for offset in range(len(part))], decode_ms, score_ms)


def _decode_good(
    decoder: Decoder,
    embeddings: Rows,
    good: Sequence[int],
    first_index: int,
    job: Job,
    micro_batch: int,
    between: Callable[[], None],
) -> tuple[dict[int, Generation], float, float]:
    """The good rows by their offset, and the milliseconds of decoding and of scoring."""
    decoded: dict[int, Generation] = {}
    decode_ms = score_ms = 0.0
    start = 0
    while start < len(good):
        between()
        offsets = good[start : start + micro_batch]
        began = time.perf_counter()
        try:
            texts = decoder.decode_rows(
                embeddings[offsets],
                indices=[first_index + offset for offset in offsets],
                options=job.options,
                seed=job.seed,
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(offsets) == 1:
                raise OutOfMemoryError(f"not even one row fits into the memory of {decoder.device}: {error}") from error
            micro_batch = len(offsets) // 2
            log.warning("out of memory on %s; going on with %d rows at a time", decoder.device, micro_batch)
            forget_cache()
            continue
        took = (time.perf_counter() - began) * 1000
        decoded.update(zip(offsets, texts, strict=True))
        score_ms += decoder.score_ms
        decode_ms += max(0.0, took - decoder.score_ms)
        start += len(offsets)
    return decoded, decode_ms, score_ms


def _unreadable(embeddings: Rows, first_index: int) -> dict[int, Generation]:
    """The error rows, by offset, of the embeddings that have no meaning."""
    finite = np.isfinite(embeddings)  # (N, D)
    zero = ~embeddings.any(axis=1)  # (N,)
    rows = {}
    for offset in np.flatnonzero(~finite.all(axis=1) | zero).tolist():
        values = embeddings.shape[1]
        broken = values - int(finite[offset].sum())
        code, why = (
            ("not_finite", f"{broken} of its {values} values are NaN or infinite in float32; all must be finite")
            if broken
            else ("zero_vector", f"all of its {values} values are zero; an embedding has a direction")
        )
        rows[offset] = Generation(index=first_index + offset, status=RowStatus.ERROR, error_code=code, error=why)
    return rows


def _with_id(row: Generation, part: Slice, offset: int) -> Generation:
    return row if part.ids is None else row.model_copy(update={"id": part.ids[offset]})


_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """torch says it in several ways: an error of its own on CUDA, a plain RuntimeError on a CPU and on MPS."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    )


def is_broken_device(error: BaseException) -> bool:
    """After such an error nothing works on the GPU any more, until the process is another one."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and "CUDA error" in str(error)


def forget_cache() -> None:
    """Gives memory that torch keeps for later back to the device."""
    torch = sys.modules.get("torch")  # where it was not imported it keeps nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_decoder(name: str, device: str) -> Decoder:
    """By its name in the catalogue and never by a path: the name comes from whoever submitted the job."""
    from models.decoder import catalog, create

    return create.load_decoder(catalog.find(name).path, device=device)


def prepare(device: str, threads: int) -> None:
    """Imports torch, which takes seconds, and gives it `threads` CPU threads; 0: as many as it likes.

    Raises InputError when the device is not there.
    """
    import torch

    from models.decoder.device import choose

    if threads:
        torch.set_num_threads(threads)
    choose(device)
