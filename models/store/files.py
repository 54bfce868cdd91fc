"""Files that OpenAI's clients upload, and which job was made of which."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, cast

from sqlalchemy import RowMapping, Table, and_, delete, select

from unembed.errors import NotFoundError
from unembed.models.clock import now
from unembed.models.store import ids
from unembed.models.store.sql import JOBS, StorePart, one, read_jobs, storable
from unembed.models.store.values import JobFile, UploadedFile
from unembed.models.tables import FileRow, JobFileRow
from unembed.schemas import Job

_FILES: Final = cast(Table, FileRow.__table__)
_JOB_FILES: Final = cast(Table, JobFileRow.__table__)
_HEADS: Final = select(*(_FILES.c[name] for name in UploadedFile.__dataclass_fields__))

_OLD_AT_ONCE: Final = 20

Clients = Collection[str] | None  # whose files there are; None: everybody's


class Files(StorePart):
    """The files, each of one client, and the jobs made of them."""

    def add(self, client: str, name: str, content: bytes) -> UploadedFile:
        values = {"id": f"file-{ids.new_job_id()}", "client": client, "name": storable(name[:200]) or "file"}
        statement = _FILES.insert().values(**values, nbytes=len(content), content=content, created_at=now())
        with self._write() as connection:
            connection.execute(statement)
            return _to_file(cast(RowMapping, one(connection, _HEADS.where(_FILES.c.id == values["id"]))))

    def get(self, file_id: str, clients: Clients) -> UploadedFile:
        """Raises NotFoundError."""
        return _to_file(self._one(_HEADS, file_id, clients))

    def content(self, file_id: str, clients: Clients) -> bytes:
        """Raises NotFoundError."""
        return bytes(self._one(select(_FILES.c.content), file_id, clients)["content"])

    def page(self, limit: int, after: str | None, clients: Clients) -> list[UploadedFile]:
        """The newest first, after the one of this id: ids sort by time."""
        statement = _HEADS.where(*_of(clients)).order_by(_FILES.c.id.desc()).limit(limit)
        if after is not None:
            statement = statement.where(_FILES.c.id < after)
        with self._read() as connection:
            return [_to_file(row) for row in connection.execute(statement).mappings()]

    def remove(self, file_id: str, clients: Clients) -> None:
        """Raises NotFoundError. The jobs that were made of it stay."""
        with self._write() as connection:
            statement = delete(_FILES).where(_FILES.c.id == file_id, *_of(clients))
            if connection.execute(statement.returning(_FILES.c.id)).first() is None:
                raise _none(file_id)

    def remove_old(self) -> list[str]:
        """Remove some of the files that were uploaded longer ago than jobs are kept, the oldest first; their ids.

        A job that was made of one stays, with its rows. Only the ids of rows whose batch died are in the file alone.
        """
        if self.settings.job_ttl is None:
            return []
        oldest = select(_FILES.c.id).order_by(_FILES.c.id).limit(_OLD_AT_ONCE)  # ids sort by time: no scan
        old = and_(_FILES.c.id.in_(oldest), _FILES.c.created_at < now(-self.settings.job_ttl))
        with self._write() as connection:
            return list(connection.scalars(delete(_FILES).where(old).returning(_FILES.c.id)))

    def note_job(self, job_id: str, of: JobFile) -> None:
        """This job was made of a file."""
        values = {"file_id": of.file_id, "endpoint": of.endpoint, "given": dict(of.given)}
        with self._write() as connection:
            connection.execute(_JOB_FILES.insert().values(job_id=job_id, **values))

    def of_job(self, job_id: str) -> JobFile:
        """Raises NotFoundError for a job that was not made of a file."""
        with self._read() as connection:
            found = one(connection, select(_JOB_FILES).where(_JOB_FILES.c.job_id == job_id))
        if found is None:
            raise NotFoundError.of_job(job_id)
        return _to_job_file(found)

    def jobs(self, limit: int, after: str | None, clients: Clients) -> list[tuple[Job, JobFile]]:
        """Those that were made of files, the newest first, after the one of this id."""
        made = select(_JOB_FILES).join(JOBS, JOBS.c.id == _JOB_FILES.c.job_id).order_by(JOBS.c.id.desc()).limit(limit)
        if clients is not None:
            made = made.where(JOBS.c.client.in_(sorted(clients)))
        if after is not None:
            made = made.where(JOBS.c.id < after)
        with self._read() as connection:
            of = {row["job_id"]: _to_job_file(row) for row in connection.execute(made).mappings()}
            jobs = read_jobs(connection, select(JOBS).where(JOBS.c.id.in_(of)).order_by(JOBS.c.id.desc()))
        return [(job, of[job.id]) for job in jobs]

    def _one(self, columns: Any, file_id: str, clients: Clients) -> RowMapping:
        with self._read() as connection:
            found = one(connection, columns.where(_FILES.c.id == file_id, *_of(clients)))
        if found is None:
            raise _none(file_id)
        return found


def _of(clients: Clients) -> list[Any]:
    return [] if clients is None else [_FILES.c.client.in_(sorted(clients))]


def _none(file_id: str) -> NotFoundError:
    return NotFoundError(f"no file has the id {file_id!r}")


def _to_file(row: RowMapping) -> UploadedFile:
    return UploadedFile(**{name: row[name] for name in UploadedFile.__dataclass_fields__})


def _to_job_file(row: RowMapping) -> JobFile:
    return JobFile(file_id=row["file_id"], endpoint=row["endpoint"], given=row["given"])
