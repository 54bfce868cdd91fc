"""The self-test at load: a few vectors that lie in the checkpoint, and what they have to be decoded into.

Weights that are damaged, exchanged or read wrongly still give fluent texts, so nobody would notice. A decoder therefore
decodes the vectors greedily when it is loaded, and refuses to serve unless

- the pieces that are expected are as likely as they were: the mean over the vectors of |difference| is at most `drift`
  nats a piece, which sees a change of 2 % in the weights (docs/lab.md);
- each text is the expected one, or leaves it at a piece that was as good as tied, at most `tie` nats apart: other
  hardware may break such ties the other way, and what follows is then another text;
- the pieces that are expected read as the text that is expected: the tokenizer is the right one.

The bounds are set when the self-test is made, from the same vectors in bfloat16, the coarsest arithmetic that is served
with: three times its drift and twice its widest tie, and no less than what was found right for the decoder that ships.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from unembed.errors import CheckpointError
from unembed.models.decoder.engine import Generated
from unembed.models.decoder.engines import Engine, greedy
from unembed.models.decoder.ret import RET
from unembed.models.decoder.tokenizer import PAD, Tokenizer
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.decoder.vectors import Vectors
from unembed.models.device import Device
from unembed.schemas import Wire

VECTORS_FILE: Final = "self_test.safetensors"
EXPECTED_FILE: Final = "self_test.json"
ROWS: Final = 8
LEAST_DRIFT: Final = 0.02  # nats a piece
LEAST_TIE: Final = 0.25  # nats
_EXACT: Final = Device(torch.device("cpu"), torch.float32)
_COARSE: Final = Device(torch.device("cpu"), torch.bfloat16)


class Expected(Wire):
    """What one vector is decoded into, greedily, in float32 on a CPU."""

    pieces: tuple[int, ...]  # END included, unless it ran into the limit
    text: str
    log_prob: float  # mean over the pieces, nats


class Expectations(Wire):
    """self_test.json."""

    format: int = 1
    drift: float
    tie: float
    rows: tuple[Expected, ...]


@dataclass(frozen=True)
class SelfTest:
    vectors: Tensor  # (K, E) float32
    expected: Expectations

    def save(self, folder: Path) -> None:
        (folder / VECTORS_FILE).write_bytes(save({"vectors": self.vectors.contiguous()}))
        (folder / EXPECTED_FILE).write_text(self.expected.model_dump_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, embedding_dim: int) -> SelfTest | None:
        """None when the folder has none. Raises CheckpointError when it is damaged, or half of it is missing."""
        if not (folder / EXPECTED_FILE).exists() and not (folder / VECTORS_FILE).exists():
            return None
        try:
            vectors = load_file(folder / VECTORS_FILE)["vectors"]
            expected = Expectations.model_validate_json((folder / EXPECTED_FILE).read_bytes())
        except (OSError, KeyError, SafetensorError, ValidationError) as error:
            raise CheckpointError(f"the self-test of {folder} cannot be read: {error}") from None
        if vectors.shape != (len(expected.rows), embedding_dim):
            raise CheckpointError(
                f"the self-test of {folder} has vectors of shape {tuple(vectors.shape)}; expected "
                f"({len(expected.rows)}, {embedding_dim})"
            )
        return cls(vectors, expected)

    @staticmethod
    def remove(folder: Path) -> None:
        for name in (VECTORS_FILE, EXPECTED_FILE):
            (folder / name).unlink(missing_ok=True)

    def run(self, name: str, engine: Engine, tokenizer: Tokenizer, device: Device) -> None:
        """Raises CheckpointError, saying what was expected and what was found, unless the network is as it was."""
        expected, rows = self.expected, self.expected.rows
        for row in rows:
            if (read := tokenizer.decode(row.pieces)) != row.text:
                raise _refusal(name, f"its pieces read as {read!r}; expected {row.text!r}")
        seen = _look(engine, self.vectors, rows)
        drift = float(np.mean([abs(mean - row.log_prob) for mean, row in zip(seen.means, rows, strict=True)]))
        where = f"on {device.name} in {device.precision}, with the engine {engine.name}"
        if not drift <= expected.drift:  # NaN is no pass either
            raise _refusal(
                name,
                f"its texts are {drift:.3f} nats a piece from as likely as they were, {where}; expected at most "
                f"{expected.drift:.3f}. The first vector gives {tokenizer.decode(seen.pieces[0])!r}; expected "
                f"{rows[0].text!r}",
            )
        for row, pieces, gap in zip(rows, seen.pieces, seen.gaps, strict=True):
            if not gap <= expected.tie:
                raise _refusal(
                    name,
                    f"a vector gives {tokenizer.decode(pieces)!r} {where}; expected {row.text!r}, or to leave it where "
                    f"two pieces are within {expected.tie:.2f} nats, not {gap:.2f}",
                )


@dataclass(frozen=True)
class _Seen:
    """What a network makes of the vectors, K of each."""

    pieces: list[list[int]]  # decoded greedily
    means: list[float]  # log-probability of the expected pieces, mean over them, nats
    gaps: list[float]  # where the two part, by how many nats the found piece is likelier; 0 when they do not


def _look(engine: Engine, vectors: Tensor, rows: tuple[Expected, ...]) -> _Seen:
    embeddings = vectors.to(engine.device)
    found = greedy(engine, embeddings)
    likely = engine.piece_log_probs(embeddings, _given(rows, embeddings.device)).cpu()  # (K, T), of what is expected
    pieces = [ids[:count] for ids, count in zip(found.ids.tolist(), found.lengths.tolist(), strict=True)]
    means, gaps = [], []
    for place, (row, ours) in enumerate(zip(rows, pieces, strict=True)):
        means.append(float(likely[place, : len(row.pieces)].mean()))
        parting = next((t for t, (a, b) in enumerate(zip(ours, row.pieces, strict=False)) if a != b), None)
        gaps.append(0.0 if parting is None else float(found.log_probs[place, parting] - likely[place, parting]))
    return _Seen(pieces, means, gaps)


def _given(rows: tuple[Expected, ...], device: torch.device) -> Generated:
    length = max(len(row.pieces) for row in rows)
    ids = [[*row.pieces, *[PAD] * (length - len(row.pieces))] for row in rows]
    lengths = [len(row.pieces) for row in rows]
    return Generated(
        torch.tensor(ids, device=device),
        torch.zeros((len(rows), length), device=device),
        torch.tensor(lengths, device=device),
    )


def make_self_test(network: RET, tokenizer: Tokenizer, vectors: Vectors) -> SelfTest:
    """From the first of vectors (N, E) and a network on the CPU, as `load_checkpoint` gives it."""
    exact, coarse = (TorchEngine(network, on, "it is the reference") for on in (_EXACT, _COARSE))
    kept = torch.from_numpy(np.array(vectors[:ROWS], dtype=np.float32))  # (K, E)
    found = greedy(exact, kept)
    pieces = [tuple(ids[:count]) for ids, count in zip(found.ids.tolist(), found.lengths.tolist(), strict=True)]
    rows = tuple(Expected(pieces=ids, text=tokenizer.decode(ids), log_prob=0.0) for ids in pieces)
    means = _look(exact, kept, rows).means
    rows = tuple(row.model_copy(update={"log_prob": mean}) for row, mean in zip(rows, means, strict=True))
    seen = _look(coarse, kept, rows)
    drift = float(np.mean([abs(mean - row.log_prob) for mean, row in zip(seen.means, rows, strict=True)]))
    tie = max(LEAST_TIE, 2.0 * max(seen.gaps))
    return SelfTest(kept, Expectations(rows=rows, drift=max(LEAST_DRIFT, 3.0 * drift), tie=tie))


def _refusal(name: str, why: str) -> CheckpointError:
    return CheckpointError(f"{name} fails its self-test and is not served: {why}")
