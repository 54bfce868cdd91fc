"""Unembed as `unembed decode` runs it: Redis, the database, the API, one worker and the client, all on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.whole import BATCH, DECODER, WholeRun
from unembed import Client
from unembed.corpus import corpus_from_array, open_corpus
from unembed.results import write_results
from unembed.schemas import GREEDY
from unembed.worker.launch import Stack


def main() -> None:
    run = WholeRun.from_arguments()
    with (
        tempfile.TemporaryDirectory(prefix="unembed-") as home,
        Stack(Path(home), workers=1, database_url=run.database) as stack,
        Client(stack.url) as client,
    ):
        corpus = open_corpus(run.corpus)
        few = next(corpus.batches(64)).embeddings
        client.submit(
            corpus_from_array(few), decoder=DECODER, options=GREEDY
        ).wait()  # the worker has loaded its decoder
        run.is_ready()
        job = client.submit(corpus, decoder=DECODER, batch_size=BATCH, options=GREEDY)
        job.wait()
        write_results(run.out, job.result_batches(order="index"))
        run.is_done()


if __name__ == "__main__":
    main()
