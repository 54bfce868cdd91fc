"""A Prefect flow: a corpus a day, its texts in a file. Each task is tried again by itself, and repeats nothing.

    python examples/prefect_flow.py corpus.parquet texts.parquet

Needs `pip install prefect unembed`, UNEMBED_URL, and UNEMBED_API_KEY where the server asks for one.
"""

from __future__ import annotations

import sys
from datetime import date

from prefect import flow, task

from unembed import Client, JobState, write_results
from unembed.errors import BusyError, UnavailableError


def _may_pass(_task, _run, state) -> bool:
    """Only what may be gone in a minute is tried again: a server that is down or has no room, and not a bad corpus."""
    return isinstance(state.result(raise_on_failure=False), (UnavailableError, BusyError))


AGAIN = {"retries": 5, "retry_delay_seconds": 60, "retry_condition_fn": _may_pass}


@task(**AGAIN)
def submit(corpus: str, day: str) -> str:
    with Client() as client:
        key = f"{corpus} of {day}"  # tried again, it is the same job
        return client.submit(corpus, idempotency_key=key, name=key, labels={"pipeline": "prefect"}).id


@task(**AGAIN)
def wait(job_id: str) -> str:
    with Client() as client:
        return client.job(job_id).wait().job.state  # JobFailedError when no row has a text


@task(**AGAIN)
def write(job_id: str, texts: str) -> int:
    with Client() as client:
        job = client.job(job_id)
        return write_results(texts, job.result_batches(order="index"), made_by=job.made_by())


@flow(log_prints=True)
def nightly(corpus: str, texts: str, day: str | None = None) -> int:
    """How many rows were written."""
    job_id = submit(corpus, day or date.today().isoformat())
    state = wait(job_id)
    rows = write(job_id, texts)
    print(f"{rows:,} rows of job {job_id} are in {texts}")
    if state == JobState.PARTIAL:
        print("some of them have no text; their column `error` says why")
    return rows


if __name__ == "__main__":
    nightly(sys.argv[1], sys.argv[2])
