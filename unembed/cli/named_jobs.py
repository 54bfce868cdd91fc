"""From what a person calls a job, its id or its name, to its id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from unembed.boundary import did_you_mean
from unembed.client import Client
from unembed.errors import InputError, NotFoundError
from unembed.schemas import Job

_ID: Final = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")  # as models/store/ids.py makes them
_PAGE: Final = 500
_SHOWN: Final = 5  # ids of jobs that have the same name


def job_id_of(client: Client, named: str) -> str:
    """The id. What looks like one is taken as it is; otherwise it is the name of one job.

    Raises NotFoundError, with the job that was probably meant, and InputError where several jobs have the name.
    """
    if _ID.fullmatch(named):
        return named
    same = [job.id for job in _with_name(client, named)] if named else []
    if len(same) == 1:
        return same[0]
    if same:
        more = f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else ""
        raise InputError(
            f"{len(same)} jobs have the name {named!r}; name one by its id, the newest first: "
            f"{', '.join(same[:_SHOWN])}{more}"
        )
    newest = client.jobs(limit=_PAGE).jobs
    known = {word for job in newest for word in (job.id, job.name) if word}
    raise NotFoundError(f"no job has the id or the name {named!r}{did_you_mean(named, known)}")


def _with_name(client: Client, name: str) -> Iterator[Job]:
    """The server finds those that have it in their name."""
    cursor: str | None = None
    while True:
        page = client.jobs(limit=_PAGE, cursor=cursor, name=name)
        yield from (job for job in page.jobs if job.name == name)
        cursor = page.next_cursor
        if cursor is None:
            return
