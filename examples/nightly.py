"""A script for every night: sends a corpus, waits for it, writes its texts. Run again, it repeats nothing.

    python examples/nightly.py corpus.parquet texts.parquet

It ends as `unembed wait` does: 0 when every row has a text, 3 when some have none, 1 when the job failed, 2 for bad
input, 4 for a wrong key, and 5 when the server does not answer: then run it again.
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from unembed import Client, JobState, UnembedError, write_results


def nightly(corpus: str, texts: str, day: str) -> int:
    """The corpus of this day. The key is what makes a second run find the first one's job."""
    key = f"{Path(corpus).name} of {day}"
    with Client() as client:  # UNEMBED_URL and UNEMBED_API_KEY, or the running `unembed up`
        job = client.submit(corpus, idempotency_key=key, name=key, labels={"pipeline": "nightly"})
        if job.job.state.is_ended and job.job.batches.dead:
            job.retry()  # an earlier run left batches that failed
        job.wait(check=False)
        rows = write_results(texts, job.result_batches(order="index"), made_by=job.made_by())
    print(f"{rows:,} rows of job {job.id}, now {job.job.state}, are in {texts}", file=sys.stderr)
    return {JobState.SUCCEEDED: 0, JobState.PARTIAL: 3}.get(job.job.state, 1)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: nightly.py CORPUS TEXTS [DAY]")
    try:
        sys.exit(nightly(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else date.today().isoformat()))
    except UnembedError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
