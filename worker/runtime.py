"""What runs on the device: decoders, loaded once a process, and the rows of a batch, some at a time.

Rows that no decoder can read are set aside as error rows before the others are decoded. A micro-batch that does not fit
into the device's memory is halved, down to one row, and the smaller size is kept for the rest of the batch. Where the
decoder fails, the micro-batch is halved until the row at fault stands alone: it is an error row, the others decode.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from celery.exceptions import SoftTimeLimitExceeded
from numpy.typing import NDArray

from unembed.codes import FailureCode
from unembed.corpus import Slice
from unembed.errors import DimensionError, UnembedError
from unembed.generations import Decoded, Places, error_rows, in_order, with_column
from unembed.models.decoder.failures import is_broken_device, is_out_of_memory
from unembed.models.settings import Settings
from unembed.models.store import JobHead
from unembed.quick_imports import quick_imports
from unembed.schemas import DecodeOptions, Precision

if TYPE_CHECKING:
    from unembed.models.decoder.explanation import Explanation

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]  # (N, D)
Row = NDArray[np.float32]  # (D,)
Offsets = NDArray[np.int64]  # (N,): places in the slice

_ERROR_CHARACTERS: Final = 1000


class Decoder(Protocol):
    """What the runtime needs of `unembed.models.decoder.base.TextDecoder`."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def embedding_dim(self) -> int: ...

    def decode_rows(self, embeddings: Rows, indices: Places, options: DecodeOptions, seed: int) -> Decoded: ...

    def peak_memory_bytes(self) -> int | None: ...


@runtime_checkable
class Explains(Protocol):
    """What those of ours can, too."""

    def explain(self, vector: Row, index: int, options: DecodeOptions, seed: int) -> Explanation: ...


class OutOfMemoryError(UnembedError):
    """A single row does not fit into the device's memory."""

    code = FailureCode.OUT_OF_MEMORY


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
            where = f"{decoder.device} ({decoder.precision}, {decoder.engine})"
            log.info("loaded %s on %s in %.1f s", name, where, took)
        return self._loaded[name]


def decode_slice(
    decoder: Decoder, part: Slice, job: JobHead, *, micro_batch: int, between: Callable[[int], None]
) -> Decoded:
    """Every row of the slice, in order. `between` is called before each micro-batch, with the number of rows that
    are done; what it raises passes through.

    A micro-batch has at most `micro_batch` texts: a row with eight beams counts as eight.

    Raises DimensionError, OutOfMemoryError when not even one row fits, and what the decoder raises when it cannot be
    told that a row is at fault rather than the decoder.
    """
    if part.dim != decoder.embedding_dim:
        raise DimensionError.between(part.dim, decoder.embedding_dim, job.decoder)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so an error row
        embeddings = part.embeddings.astype(np.float32, copy=False)
    readable, unreadable = _read(embeddings, part.first_index, part.faults)
    beside = max(job.options.width, job.options.candidates)  # texts of a row that are decoded at the same time
    run = _Run(decoder, embeddings, part.first_index, job, between, max(1, micro_batch // beside))
    run.decode(readable)
    rows = in_order([unreadable, *run.rows])
    return Decoded(rows if part.ids is None else with_column(rows, "id", part.ids), run.decode_ms, run.score_ms)


def explained(decoder: Decoder, part: Slice, job: JobHead, decoded: Decoded) -> dict[str, Any] | None:
    """How the text of a single row came about, for a job that asks for it; None where there is nothing to tell.

    The row is decoded once more, to the same text. That it cannot be told is no reason to fail.
    """
    is_asked = job.explains and len(part) == 1 and not decoded.rows.column("text").null_count
    if not is_asked or not isinstance(decoder, Explains):
        return None
    try:
        vector = part.embeddings[0].astype(np.float32, copy=False)
        return asdict(decoder.explain(vector, part.first_index, job.options, job.seed))
    except Exception as error:
        log.warning("how the text of job %s came about cannot be told: %s", job.id, error)
        return None


@dataclass
class _Run:
    """One pass over the good rows of a slice; rows are known by their offset in it."""

    decoder: Decoder
    embeddings: Rows
    first_index: int
    job: JobHead
    between: Callable[[int], None]
    micro_batch: int  # rows; shrinks when memory runs out
    rows: list[pa.RecordBatch] = field(default_factory=list)  # decoded or at fault; a micro-batch each, in any order
    known: int | None = None  # the first row that was decoded
    decode_ms: float = 0.0
    score_ms: float = 0.0

    def decode(self, offsets: Offsets) -> None:
        start = 0
        while start < len(offsets):
            some = offsets[start : start + self.micro_batch]
            error = self._keep(some)
            if error is not None and is_out_of_memory(error):
                self._shrink(some, error)
                continue
            if error is not None:
                self._set_aside(some, error)
            start += len(some)

    def _keep(self, offsets: Offsets) -> Exception | None:
        """Decodes these rows together and keeps them; otherwise, what the decoder raised."""
        decoded = self._try(offsets)
        if isinstance(decoded, Exception):
            return decoded
        self.rows.append(decoded.rows)
        self.score_ms += decoded.score_ms
        self.decode_ms += decoded.decode_ms
        if self.known is None:
            self.known = int(offsets[0])
        return None

    def _try(self, offsets: Offsets) -> Decoded | Exception:
        """Decodes these rows together; what the decoder raised, unless that says that no row is at fault."""
        self.between(sum(rows.num_rows for rows in self.rows))
        vectors, indices = self.embeddings[offsets], self.first_index + offsets
        try:
            return self.decoder.decode_rows(vectors, indices, self.job.options, self.job.seed)
        except (UnembedError, SoftTimeLimitExceeded):
            raise
        except Exception as error:
            if is_broken_device(error):
                raise
            return error

    def _shrink(self, offsets: Offsets, error: Exception) -> None:
        if len(offsets) == 1:
            raise self._does_not_fit(error) from error
        self.micro_batch = len(offsets) // 2
        log.warning("out of memory on %s; continuing with %d rows at a time", self.decoder.device, self.micro_batch)
        forget_cache()

    def _set_aside(self, offsets: Offsets, error: Exception) -> None:
        """Makes error rows of those at fault; raises the error when the decoder does no row at all any more."""
        faults = self._bisect(offsets, error)
        if len(faults) == len(offsets) and not self._still_decodes():
            raise error
        for offset, fault in faults.items():
            index, why = self.first_index + offset, f"{type(fault).__name__}: {fault}"
            log.error("the decoder fails on row %d of job %s: %s", index, self.job.id, why, exc_info=fault)
            self.rows.append(error_rows([index], FailureCode.DECODE_FAILED, why[:_ERROR_CHARACTERS]))

    def _bisect(self, offsets: Offsets, error: Exception) -> dict[int, Exception]:
        """The rows at fault, each with what the decoder raised over it alone; the others are decoded."""
        if len(offsets) == 1:
            if is_out_of_memory(error):
                raise self._does_not_fit(error) from error
            return {int(offsets[0]): error}
        middle = len(offsets) // 2
        faults: dict[int, Exception] = {}
        for half in (offsets[:middle], offsets[middle:]):
            again = self._keep(half)
            if again is not None:
                faults |= self._bisect(half, again)
        return faults

    def _still_decodes(self) -> bool:
        """Whether a row that was decoded before can be decoded now."""
        return self.known is not None and not isinstance(self._try(np.array([self.known])), Exception)

    def _does_not_fit(self, error: Exception) -> OutOfMemoryError:
        return OutOfMemoryError(f"not even one row fits into the memory of {self.decoder.device}: {error}")


def _read(embeddings: Rows, first_index: int, faults: Mapping[int, str]) -> tuple[Offsets, pa.RecordBatch]:
    """The offsets of the embeddings that have a meaning, and error rows for the others."""
    finite = np.isfinite(embeddings)  # (N, D)
    broken = (~finite).sum(axis=1)  # (N,): how many values
    good = (broken == 0) & embeddings.any(axis=1)  # (N,)
    bad = np.flatnonzero(~good)
    values = embeddings.shape[1]
    codes, why = list[FailureCode](), list[str]()
    for offset in bad.tolist():
        if offset in faults:
            codes.append(FailureCode.NO_VECTOR)
            why.append(f"the row {faults[offset]}"[:_ERROR_CHARACTERS])
        elif broken[offset]:
            codes.append(FailureCode.NOT_FINITE)
            why.append(f"{broken[offset]} of its {values} values are NaN or infinite in float32; all must be finite")
        else:
            codes.append(FailureCode.ZERO_VECTOR)
            why.append(f"all of its {values} values are zero; an embedding has a direction")
    return np.flatnonzero(good), error_rows(first_index + bad, codes, why)


def forget_cache() -> None:
    """Gives memory that torch keeps for later back to the device."""
    torch = sys.modules.get("torch")  # where it was not imported it keeps nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_decoder(name: str, settings: Settings) -> Decoder:
    """By its name in the catalogue and never by a path: the name comes from whoever submitted the job."""
    from unembed.models.decoder import catalog, create

    return create.load_decoder(
        catalog.find(name).path, settings.device, settings.precision, settings.engine, settings.gpu_memory
    )


def memory_of(device: str) -> int | None:
    """The bytes of memory of the GPU that a decoder names as its device; None of what is no GPU of CUDA's."""
    if not device.startswith("cuda"):
        return None
    with quick_imports():
        import torch
    return int(torch.cuda.get_device_properties(device.partition(" ")[0]).total_memory)


def prepare(device: str, precision: Precision, threads: int) -> None:
    """Imports torch, which takes seconds, and gives it `threads` CPU threads; 0: as many as it likes.

    Raises InputError when the device is not there.
    """
    with quick_imports():
        import torch

        from unembed.models.decoder import create  # noqa: F401 - so that loading a decoder finds its modules there
        from unembed.models.device import choose

    if threads:
        torch.set_num_threads(threads)
    choose(device, precision)
