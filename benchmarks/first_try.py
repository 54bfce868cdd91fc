"""The Celery project that one writes first: vectors as JSON in the messages, an ORM, a row a commit.

It uses our decoder, through `batch_generate`, and nothing else of this project. It is written as well as one writes it
who has not yet measured: the decoder is loaded once a worker, messages have a few hundred rows, nothing is prefetched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from celery import Celery, group
from celery.signals import worker_process_init
from sqlalchemy import create_engine, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.whole import DECODER, WholeRun, running, running_redis, warm
from unembed.models.decoder.generative import GenerativeDecoder

BATCH = 256  # rows a message
BROKER = os.environ.get("FIRST_TRY_BROKER", "")

app = Celery("first_try", broker=BROKER, backend=BROKER)
app.conf.update(task_serializer="json", accept_content=["json"], worker_prefetch_multiplier=1)
run = WholeRun.from_arguments() if BROKER else None
engine = create_engine(run.database.replace("postgresql:", "postgresql+psycopg:")) if run and run.database else None
decoder: GenerativeDecoder | None = None


class _Base(DeclarativeBase):
    pass


class FirstTryText(_Base):
    __tablename__ = "first_try"

    id: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[int]
    text: Mapped[str]
    quality: Mapped[float | None]


@worker_process_init.connect  # type: ignore[untyped-decorator]
def load(**_: Any) -> None:
    global decoder
    assert run is not None
    decoder = GenerativeDecoder.load(DECODER, "cpu", engine=run.engine)
    warm(decoder, run.corpus)
    Path(f"{run.marker}.loaded").touch()


@app.task  # type: ignore[untyped-decorator]
def decode(rows: list[dict[str, Any]]) -> int:
    assert decoder is not None
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    with Session(engine) as session:
        for row, found in zip(rows, decoder.batch_generate(vectors, candidates=1), strict=True):
            metrics = found["quality_metrics"] or {}
            session.add(FirstTryText(row=row["index"], text=found["text"], quality=metrics.get("overall_quality")))
            session.commit()
    return len(rows)


def main(asked: WholeRun) -> None:
    assert engine is not None
    _Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(delete(FirstTryText))
        session.commit()
    worker = ["worker", "--concurrency=1", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
    with running(sys.executable, "-P", __file__, *sys.argv[1:], *worker):
        while not Path(f"{asked.marker}.loaded").exists():
            time.sleep(0.05)
        asked.is_ready()
        vectors = [row["embedding"] for row in pq.read_table(asked.corpus).to_pylist()]
        rows = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        sent = group(decode.s(rows[begin : begin + BATCH]) for begin in range(0, len(rows), BATCH)).apply_async()
        sent.get(interval=0.1)
        with Session(engine) as session:
            found = session.scalars(select(FirstTryText).order_by(FirstTryText.row)).all()
        table = pa.Table.from_pylist([{"index": one.row, "text": one.text, "quality": one.quality} for one in found])
        pq.write_table(table, asked.out)
        asked.is_done()


def with_redis() -> None:
    """Starts an embedded Redis, and this program again with its address."""
    with running_redis() as path:
        broker = os.environ | {"FIRST_TRY_BROKER": f"redis+socket://{path}"}
        subprocess.run([sys.executable, "-P", __file__, *sys.argv[1:]], env=broker, check=True)


if __name__ == "__main__":
    if run is None:
        with_redis()
    elif "worker" in sys.argv:
        app.worker_main(sys.argv[WholeRun.ARGUMENTS + 1 :])
    else:
        main(run)
