"""The bare loop: vectors from a .parquet file, texts into another, in one process; nothing else could be faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from benchmarks.whole import BATCH, DECODER, WholeRun, warm
from unembed.corpus import open_corpus
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.results import write_results
from unembed.schemas import GREEDY


def main() -> None:
    run = WholeRun.from_arguments()
    decoder = GenerativeDecoder.load(DECODER, "cpu", engine=run.engine)
    warm(decoder, run.corpus)
    run.is_ready()
    write_results(run.out, decoded(decoder, run))
    run.is_done()


def decoded(decoder: GenerativeDecoder, run: WholeRun) -> Iterator[pa.RecordBatch]:
    for part in open_corpus(run.corpus).batches(BATCH):
        indices = range(part.first_index, part.first_index + len(part.embeddings))
        vectors: Any = part.embeddings
        yield decoder.decode_rows(vectors, indices, GREEDY, 0).rows


if __name__ == "__main__":
    main()
