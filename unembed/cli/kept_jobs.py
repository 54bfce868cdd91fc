"""Jobs that are read: from the server, or, where none runs, from the databases under the home folder.

What a decode that was interrupted has decoded, and what an `unembed up` that has ended left, is there to be read
without starting anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from unembed import runs
from unembed.cli import options as given
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.client import Client
from unembed.errors import (
    CheckpointError,
    ConflictError,
    NotFoundError,
    StoreUnavailableError,
    UnavailableError,
    UnknownDecoderError,
)
from unembed.home import home_folder, running_server
from unembed.quick_imports import quick_imports
from unembed.results import MadeBy
from unembed.schemas import Job, Order

if TYPE_CHECKING:
    import pyarrow as pa

    from unembed.models.store import Store

_PAGE_ROWS: Final = 8000


class Readable(Protocol):
    """A job and its rows; a JobHandle is one."""

    @property
    def job(self) -> Job: ...

    def result_batches(self, order: Order = "finished") -> Iterator[pa.RecordBatch]: ...

    def made_by(self) -> MadeBy: ...


class KeptJob:
    """A job in a database that no server uses."""

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self.job = store.jobs.get(job_id)

    def result_batches(self, order: Order = "finished") -> Iterator[pa.RecordBatch]:
        cursor: str | None = None
        while True:
            page = self._store.results.page(self.job.id, cursor=cursor, limit=_PAGE_ROWS, order=order)
            if page.rows.num_rows:
                yield self._store.carried.beside(self.job.id, page.rows)
            cursor = page.next_cursor
            if cursor is None or not page.rows.num_rows:
                return

    def made_by(self) -> MadeBy:
        from unembed.models.decoder import catalog

        try:
            checkpoint = catalog.find(self.job.decoder).checkpoint
        except (UnknownDecoderError, CheckpointError):
            checkpoint = None
        return MadeBy.of(self.job, self._store.jobs.batches(self.job.id), checkpoint)


@contextmanager
def job_to_read(job_id: str, url: str | None, home: Path | None) -> Iterator[Readable]:
    """The job, wherever it is. Raises NotFoundError, or UnavailableError where there is no server either."""
    with ExitStack() as exits:
        found: Readable | None
        try:
            client = exits.enter_context(given.connect(url, home))
            found = client.job(given.job_id_of(client, job_id))
        except (NotFoundError, UnavailableError):
            found = None if url else _kept(job_id, home_folder(home), exits)
            if found is None:
                raise
        yield found


def require_running(job_id: str, url: str | None, home: Path | None) -> Client:
    """A client of the server that may have the job. Raises ConflictError where it is known that nothing runs it."""
    try:
        return given.connect(url, home)
    except UnavailableError:
        kept = run_of(job_id, home)
        if kept is None or kept.note.url is not None:
            raise
        if server := running_server(kept.folder):
            return given.connect(server.url, None)
        raise ConflictError(
            f"the job {job_id} does not run: its decode of {kept.note.source} was interrupted, and the same command "
            "goes on with it"
        ) from None


def run_of(job_id: str, home: Path | None) -> runs.Kept | None:
    """What a decode that is not over has left of this job."""
    return next((kept for kept in runs.all_kept(home_folder(home)) if kept.note.job_id == job_id), None)


def _kept(job_id: str, home: Path, exits: ExitStack) -> KeptJob | None:
    folders = [home, *(kept.folder for kept in runs.all_kept(home))]
    for file in (folder / runs.DATABASE_FILE for folder in folders):
        if file.is_file() and (found := _in_database(file, job_id, exits)):
            say(f"no server is needed: the job is in {file}", "dim")
            return found
    return None


def _in_database(file: Path, job_id: str, exits: ExitStack) -> KeptJob | None:
    with needs("store"), quick_imports():
        from unembed.models.database import open_engine
        from unembed.models.settings import read_settings
        from unembed.models.sqlite import sqlite_url
        from unembed.models.store import Store

    url = sqlite_url(file)
    with ExitStack() as opened:
        store = Store(opened.enter_context(open_engine(url)), read_settings(database_url=url))
        try:
            found = KeptJob(store, job_id)
        except NotFoundError:
            return None
        except StoreUnavailableError as error:  # of another version, or damaged
            say(f"not looked at: {file}: {error.message}", "yellow")
            return None
        exits.push(opened.pop_all())
    return found
