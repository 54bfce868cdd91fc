"""Ray Data: `map_batches` with our decoder in an actor, from a .parquet file to one or several others."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from benchmarks.whole import BATCH, DECODER, WholeRun, warm
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.schemas import GREEDY


class Decode:
    """The actor: one decoder, loaded once."""

    def __init__(self, run: WholeRun) -> None:
        self._decoder = GenerativeDecoder.load(DECODER, "cpu", engine=run.engine)
        warm(self._decoder, run.corpus)
        run.is_ready()

    def __call__(self, batch: pa.Table) -> pa.Table:
        column: Any = batch["embedding"].combine_chunks()
        vectors = np.asarray(column.flatten()).reshape(len(column), -1)  # (N, D)
        rows = self._decoder.decode_rows(vectors, range(len(vectors)), GREEDY, 0).rows
        return pa.Table.from_batches([rows])


def main() -> None:
    run = WholeRun.from_arguments()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows: Any = ray.data.read_parquet(str(run.corpus)).map_batches(
        Decode,
        fn_constructor_args=(run,),
        batch_size=BATCH,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )
    rows.write_parquet(str(run.out))
    run.is_done()
    ray.shutdown()


if __name__ == "__main__":
    main()
