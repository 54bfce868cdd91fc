"""The same twelve vectors, written in every format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unembed.corpus import Corpus

ROWS, DIM = 12, 8
VECTORS = (np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM) - 20) / 8
IDS = [f"doc-{row}" for row in range(ROWS)]
RECORDS = [{"id": id_, "embedding": row} for id_, row in zip(IDS, VECTORS.tolist(), strict=True)]

Write = Callable[[Path], object]


def table(rows: slice = slice(None), **more: Any) -> pa.Table:
    return pa.table({"id": IDS[rows], "embedding": VECTORS[rows].tolist(), **more}).cast(
        pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32())), *((name, pa.int64()) for name in more)])
    )


def parquet(path: Path, rows: slice = slice(None)) -> None:
    with path.open("wb") as file:
        pq.write_table(table(rows), file)


def arrow_stream(path: Path, rows: slice = slice(None)) -> None:
    with path.open("wb") as file, pa.ipc.new_stream(file, table().schema) as writer:
        writer.write_table(table(rows))


def feather(path: Path) -> None:
    with path.open("wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table())


def lines(path: Path, rows: slice = slice(None)) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[rows]))


def document(value: object, indent: int | None = None) -> Write:
    return lambda path: path.write_text(json.dumps(value, indent=indent))


def sheet(header: list[str] | None, rows: list[list[Any]], **dialect: Any) -> Write:
    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            csv.writer(file, **dialect).writerows([header, *rows] if header else rows)

    return write


def raw(*parts: np.ndarray) -> Write:
    return lambda path: path.write_bytes(b"".join(part.tobytes() for part in parts))


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, embedding=VECTORS, id=np.array(IDS))


def safetensors(path: Path, kind: str = "F32") -> None:
    values = VECTORS if kind == "F32" else (VECTORS.view(np.uint32) >> 16).astype(np.uint16)
    header = {
        "__metadata__": {"a": "b"},
        "emb": {"dtype": kind, "shape": [ROWS, DIM], "data_offsets": [0, values.nbytes]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, VECTORS)


WIDE = [[id_, *row] for id_, row in zip(IDS, VECTORS.tolist(), strict=True)]
LONG = [[at, id_, json.dumps(row), 'a "q",\nand b'] for at, (id_, *row) in enumerate(WIDE)]
FVECS = np.concatenate([np.full((ROWS, 1), DIM, "<i4").view("<f4"), VECTORS], axis=1)

FORMATS: list[tuple[str, Write]] = [
    *[(f"a{suffix}", parquet) for suffix in (".parquet", ".pq", ".PARQ", ".Parquet")],
    *[(f"a{suffix}", feather) for suffix in (".feather", ".ipc", ".ARROW")],
    *[(f"s{suffix}", arrow_stream) for suffix in (".arrows", ".arrow")],
    *[(f"a{suffix}", lines) for suffix in (".jsonl", ".ndjson", ".JSONLINES", ".json")],
    ("rows.json", document(RECORDS)),
    ("indented.json", document(RECORDS, indent=2)),
    ("rows.jsonl", document(RECORDS, indent=0)),
    ("line.jsonl", document(RECORDS)),
    ("data.json", document({"object": "list", "data": RECORDS, "usage": {"tokens": [1, 2]}})),
    ("hits.json", document({"took": 1, "hits": {"total": {"value": 12}, "hits": RECORDS}})),
    ("columns.json", document({"ids": IDS, "embeddings": VECTORS.tolist(), "metadatas": [{"a": 1}] * ROWS})),
    ("wide.csv", sheet(["id", *(f"dim_{at}" for at in range(DIM))], WIDE)),
    ("numbers.csv", sheet(["id", *map(str, range(DIM))], WIDE, delimiter=";")),
    ("wide.tsv", sheet(["id", *map(str, range(DIM))], WIDE, delimiter="\t")),
    ("text.csv", sheet(["", "id", "embedding", "text"], LONG)),
    ("a.npz", npz),
]  # fmt: skip
WITHOUT_IDS: list[tuple[str, Write]] = [
    ("a.NPY", npy),
    ("vectors.json", document(VECTORS.tolist())),
    ("nested.json", document({"embeddings": {"float": VECTORS.tolist()}, "texts": ["a"] * ROWS})),
    ("bare.csv", sheet(None, VECTORS.tolist())),
    ("a.fvecs", raw(FVECS)),
    ("a.fbin", raw(np.array([ROWS, DIM], "<u4"), VECTORS)),
    ("a.safetensors", safetensors),
    ("half.safetensors", lambda path: safetensors(path, "BF16")),
]


def ids_in(corpus: Corpus, size: int = 5) -> list[str | None]:
    return [id_ for batch in corpus.batches(size) for id_ in batch.ids or ()]


def vectors_in(corpus: Corpus, size: int = 5) -> np.ndarray:
    return np.concatenate([batch.embeddings for batch in corpus.batches(size)])
