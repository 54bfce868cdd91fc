"""Our decoder between a plain Redis list and COPY: no checks, no leases, no second attempt, nothing to ask for status.

A worker pops a batch of vectors, decodes it, and copies its rows into PostgreSQL; the other side pushes all batches,
waits for the rows, and selects them into a .parquet file.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from benchmarks.whole import BATCH, DECODER, WholeRun, running, running_redis, warm
from unembed.corpus import open_corpus
from unembed.generations import SCHEMA
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.schemas import GREEDY

COLUMNS = ", ".join(f'"{name}"' for name in SCHEMA.names)
TYPES = {"int32": "int", "int64": "bigint", "float": "real", "double": "float8", "bool": "bool"}
QUEUE = "vectors"


def main() -> None:
    run = WholeRun.from_arguments()
    assert run.database is not None, "it copies into PostgreSQL"
    with running_redis() as path, psycopg.connect(run.database, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS raw")
        columns = ", ".join(f'"{field.name}" {TYPES.get(str(field.type), "text")}' for field in SCHEMA)
        database.execute(f"CREATE TABLE raw ({columns})".encode())
        queue = redis.Redis(unix_socket_path=str(path))
        with running(sys.executable, "-P", __file__, *sys.argv[1:], str(path)):
            corpus = open_corpus(run.corpus)
            queue.blpop("loaded")
            run.is_ready()
            for part in corpus.batches(BATCH):
                index = np.array([part.first_index], dtype=np.int64)
                queue.rpush(QUEUE, index.tobytes() + np.asarray(part.embeddings, dtype=np.float32).tobytes())
            while database.execute("SELECT count(*) FROM raw").fetchone() != (corpus.rows,):
                time.sleep(0.05)
            rows = database.execute(f'SELECT {COLUMNS} FROM raw ORDER BY "index"'.encode()).fetchall()  # noqa: S608
            found = zip(*rows, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(found, SCHEMA, strict=True)]
            pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), run.out)
            run.is_done()


def work(run: WholeRun, path: str, dim: int = 384) -> None:
    decoder = GenerativeDecoder.load(DECODER, "cpu", engine=run.engine)
    warm(decoder, run.corpus)
    queue = redis.Redis(unix_socket_path=path)
    queue.rpush("loaded", b"1")
    assert run.database is not None
    with psycopg.connect(run.database) as database:
        while True:
            payload = _popped(queue)
            first = int(np.frombuffer(payload, np.int64, 1)[0])
            vectors = np.frombuffer(payload, np.float32, offset=8).reshape(-1, dim)
            rows = decoder.decode_rows(vectors, range(first, first + len(vectors)), GREEDY, 0).rows
            with database.cursor().copy(f"COPY raw ({COLUMNS}) FROM STDIN".encode()) as copy:
                for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                    copy.write_row(row)
            database.commit()


def _popped(queue: redis.Redis) -> bytes:
    item: Any = queue.blpop([QUEUE])
    payload: bytes = item[1]
    return payload


if __name__ == "__main__":
    if len(sys.argv) > WholeRun.ARGUMENTS + 1:
        work(WholeRun.from_arguments(), sys.argv[-1])
    else:
        main()
