"""An Airflow DAG: a corpus a day, decoded between two tasks that hold no slot while they wait. For Airflow 3.

A task that is tried again, and a day that is cleared and run again, find the job of that day: nothing is sent twice.
Airflow's workers need `pip install unembed`, UNEMBED_URL, and UNEMBED_API_KEY where the server asks for one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

CORPUS = "/data/corpus-{day}.parquet"
TEXTS = "/data/texts-{day}.parquet"


@dag(
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=2)},
    tags=["unembed"],
)
def unembed_nightly():
    """Submit the day's corpus, wait for its job, write its texts."""

    @task
    def submit(ds: str | None = None) -> str:
        from unembed import Client
        from unembed.errors import InputError

        with Client() as client:
            try:
                job = client.submit(
                    CORPUS.format(day=ds),
                    idempotency_key=f"airflow corpus {ds}",
                    name=f"corpus of {ds}",
                    labels={"pipeline": "airflow"},
                )
            except InputError as error:  # it would fail again
                raise AirflowFailException(error.message) from error
        return job.id

    @task.sensor(poke_interval=60, timeout=12 * 3600, mode="reschedule")
    def ended(job_id: str) -> bool:
        from unembed import Client, JobState

        with Client() as client:
            job = client.job(job_id).job
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            raise AirflowFailException(f"job {job.id} is {job.state}: {job.error or 'no row has a text'}")
        return job.state.is_ended

    @task
    def write(job_id: str, ds: str | None = None) -> int:
        from unembed import Client, write_results

        with Client() as client:
            job = client.job(job_id)
            rows = write_results(TEXTS.format(day=ds), job.result_batches(order="index"), made_by=job.made_by())
        if job.job.rows.error:
            print(f"{job.job.rows.error:,} of {rows:,} rows have no text; their column `error` says why")
        return rows

    job_id = submit()
    ended(job_id) >> write(job_id)


unembed_nightly()
