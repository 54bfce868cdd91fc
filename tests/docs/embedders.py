"""Embedders for the page "Your embedder": they answer as OpenAI, BGE and a store with pgvector would.

Their vectors are those that the decoder which ships reads, or the nearest that its sketch knows, turned into a space of
their own: adapting to them works as it does to a real embedder, and needs neither a network nor a model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.sketch import MARKS, Sketch
from unembed.schemas import DEFAULT_DECODER

Vectors = npt.NDArray[np.float32]
DIM = 384
OPENAI_DIM = 1536  # of text-embedding-3-small
LAST = 8  # texts that are decoded, and not adapted with
BASE = "small-base"  # what is adapted, in place of a decoder that ships
WORDS = 300  # of its sketch
SCALE = 0.5  # of the vectors in the store: nothing says that they have length 1


@dataclass(frozen=True)
class Embedders:
    """Texts with the vectors (N, 384) that they really have; of others the words are known."""

    texts: Sequence[str]
    vectors: Vectors

    @cached_property
    def sketch(self) -> Sketch:
        sketch = Sketch.load(SHIPPED / DEFAULT_DECODER, DIM)
        assert sketch is not None
        return sketch

    def openai(self, text: str, dim: int | None = None) -> Vectors:
        """(1536,), or as many of them as are asked for."""
        known = self.vectors[self.texts.index(text)] if text in self.texts else self.sketch.vectors([text])[0]
        return np.asarray(known @ turning(OPENAI_DIM), dtype=np.float32)[:dim]

    def write_bge(self, folder: Path) -> None:
        """A folder of sentence-transformers: the mean of the sketch's words."""
        words = {word.lower(): number for number, word in enumerate(self.sketch.words) if number > 0}
        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0} | words, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        table = self.sketch.table[: len(self.sketch.words)] @ self.sketch.basis.T.astype(np.float32)
        (folder / "1_Normalize").mkdir(parents=True)
        tokenizer.save(str(folder / "tokenizer.json"))
        save_file({"embedding.weight": table @ turning(DIM)}, folder / "model.safetensors")
        modules = [("", "StaticEmbedding"), ("1_Normalize", "Normalize")]
        listed = [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(modules)
        ]
        (folder / "modules.json").write_text(json.dumps(listed))

    def write_store(self, url: str) -> None:
        """Two tables: `docs` of BGE, whose last rows have no text, and `notes` of OpenAI, without any."""
        notes = np.stack([self.openai(text) for text in self.texts[-LAST:]])
        with psycopg.connect(url) as connection:
            available = "select from pg_available_extensions where name = 'vector'"
            kind = "real[]"
            if connection.execute(available).fetchone() is not None:
                connection.execute("create extension if not exists vector")
                kind = "vector"
            for table, vectors in (("docs", SCALE * self.vectors @ turning(DIM)), ("notes", notes)):
                connection.execute(f"create table {table} (id bigint, body text, embedding {kind})")  # type: ignore[arg-type]
                written = list(self.texts[:-LAST]) if table == "docs" else []
                bodies = written + [None] * LAST
                rows = [(row, body, vectors[row].tolist()) for row, body in enumerate(bodies)]
                insert = f"insert into {table} values (%s, %s, %s::real[]::{kind})"
                connection.cursor().executemany(insert, rows)  # type: ignore[arg-type]


def write_base(folder: Path) -> None:
    """The decoder that ships, with a sketch of its commonest words and pairs: to map all 35,000 takes seconds."""
    shutil.copytree(SHIPPED / DEFAULT_DECODER, folder)
    sketch = Sketch.load(folder, DIM)
    assert sketch is not None
    words = len(sketch.words)
    chosen = np.argsort(-sketch.priors[len(MARKS) : words].astype(np.float32), kind="stable")[:WORDS]
    kept = np.concatenate([np.arange(len(MARKS)), len(MARKS) + np.sort(chosen)])
    places = np.full(words, -1, np.int32)
    places[kept] = np.arange(len(kept))
    pairs = places[sketch.pairs]
    whole = (pairs >= 0).all(axis=1)
    rows = np.concatenate([kept, words + np.flatnonzero(whole)])
    replace(
        sketch,
        words=tuple(sketch.words[word] for word in kept),
        pairs=pairs[whole],
        rows=sketch.rows[rows],
        scales=sketch.scales[rows],
        priors=sketch.priors[rows],
    ).save(folder)


@cache
def turning(dim: int) -> Vectors:
    """(384, dim): a turn into a space of as many dimensions or more, which keeps every length and angle."""
    drawn = np.random.default_rng(dim).normal(size=(dim, DIM))
    return np.asarray(np.linalg.qr(drawn)[0].T, dtype=np.float32)


def write_corpus(path: Path, vectors: Vectors) -> None:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    pq.write_table(pa.table({"id": np.arange(len(vectors)), "embedding": rows}), path)
