"""A decode from the corpus to the file: sent, waited for, written, and gone on with after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Never

import typer
from rich.table import Table

from unembed.boundary import as_unembed_error
from unembed.cli import options as given
from unembed.cli.common import api_key
from unembed.cli.console import STARTED, Exit, job_exit_code, say
from unembed.cli.corpora import say_bad_rows
from unembed.cli.foreground import Place, Wanted, foreground
from unembed.cli.glance import Glance
from unembed.cli.going_on import how, how_far, texts_of, time_of
from unembed.cli.progress import display
from unembed.cli.tables import RowTally, summary
from unembed.client import Client
from unembed.corpus import Corpus
from unembed.errors import ConflictError, InputError, NotFoundError, UnavailableError, UnembedError
from unembed.job import JobHandle
from unembed.progress import Display
from unembed.results import Destination, Layout, write_results
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DecodeOptions, Job, JobState, Priority

_SMALLEST_BATCH: Final = 64  # rows; below it a decoder is no faster a batch
_CHECK_EVERY: Final = 1.0  # seconds: whether the server that was started for it can still do it
_SENT_AT_MOST: Final = 3  # times: vectors that a server has lost are sent again


def usual_batch_size(rows: int) -> int:
    """A small corpus is cut in ten: there is progress to see, and work for every worker. Texts do not depend on it."""
    return min(DEFAULT_BATCH_SIZE, max(_SMALLEST_BATCH, -(-rows // 10)))


class Done(NamedTuple):
    """A job that has ended, and whose rows are written to a file."""

    job: Job
    written: int  # rows
    glance: Glance
    summary: Table


def decode_to_file(
    corpus: Corpus,
    output: Destination,
    show: Callable[[Done], None],
    *,
    layout: Layout | None = None,
    name: str,
    decoder: str = DEFAULT_DECODER,
    batch_size: int | None = None,
    seed: int = 0,
    options: DecodeOptions | None = None,
    workers: int | None = None,
    fresh: bool = False,
    priority: Priority = Priority.NORMAL,
    url: str | None = None,
    home: Path | None = None,
) -> Never:
    """Decodes a corpus in sight of a person, who may interrupt; says how to go on if they do. Ends the program.

    `show` is called as soon as the rows are in the file: a server of our own takes a moment to stop, and nobody has to
    wait for that to see what they came for.
    """
    wanted = Wanted(corpus, name, decoder, seed, options or DecodeOptions())
    run = _Run(wanted, output, layout, batch_size or usual_batch_size(corpus.rows), priority, named_home=home)
    try:
        with foreground(wanted, url=url, home=home, workers=workers, fresh=fresh) as place:
            job = run.on(place, show)
    except KeyboardInterrupt as error:
        say(f"interrupted; {run.how_to_go_on()}", "yellow")
        raise typer.Exit(Exit.INTERRUPTED) from error
    raise typer.Exit(job_exit_code(job))


class _Run:
    """One decode, from the corpus to the file, and how far it has come."""

    def __init__(
        self,
        wanted: Wanted,
        output: Destination,
        layout: Layout | None,
        batch_size: int,
        priority: Priority,
        named_home: Path | None,
    ) -> None:
        self._wanted = wanted
        self._output = output
        self._layout = layout
        self._batch_size = batch_size
        self._priority = priority
        self._named_home = named_home
        self._place: Place | None = None
        self._job: Job | None = None  # as it was last seen
        self._is_sent = False

    def on(self, place: Place, show: Callable[[Done], None]) -> Job:
        self._place = place
        busy = given.SayBusy()

        def is_busy(why: str, pause: float) -> None:
            busy(why, pause)
            place.check()

        given.trace_until_exit()
        with Client(place.url, api_key(), busy=is_busy) as client:
            try:
                self._forget_what_is_gone(client, place)
                handle = self._decode(client, place)
            except UnavailableError:
                place.check()  # says more, if it is the reason
                raise
            except InputError:
                if self._job is None or not texts_of(self._job):
                    place.over()  # nothing to go on with
                raise
            say_bad_rows(self._wanted.corpus)
            tally = RowTally()
            written = self._write(handle, tally)
            wall = time.monotonic() - STARTED
            show(Done(handle.job, written, tally.glance, summary(handle.job, client.batches(handle.id), tally, wall)))
        self._end(handle.job, place)
        return handle.job

    def _end(self, job: Job, place: Place) -> None:
        if job.batches.dead and texts_of(job):
            say(f"batches that failed for good: {job.batches.dead:,}; the same command tries them again", "yellow")
        else:
            place.over()

    def _forget_what_is_gone(self, client: Client, place: Place) -> None:
        """A job that was cancelled or removed is not gone on with, and one that is begun anew is cancelled."""
        if place.replaced:
            with suppress(NotFoundError, ConflictError):
                client.cancel(place.replaced)
        if place.run is None or place.run.note.job_id is None:
            return
        try:
            job = client.job(place.run.note.job_id).job
        except NotFoundError:
            place.begin_anew()
            return
        if job.state in (JobState.CANCELLING, JobState.CANCELLED):
            place.begin_anew()

    def _decode(self, client: Client, place: Place) -> JobHandle:
        """Until the job has ended, and the server has lost no vectors that could be sent again."""
        for _ in range(_SENT_AT_MOST):
            with display() as progress:
                handle = self._submit(client, place, progress)
                self._is_sent = True
                if handle.job.state.is_ended and handle.job.batches.dead:
                    with suppress(ConflictError):  # their vectors are gone, and will be sent again
                        handle.retry()
                handle.wait(poll=_CHECK_EVERY, progress=lambda job: self._look(job, place, progress), check=False)
            lost = handle.job.batches.dead and sum(batch.lacks_its_vectors for batch in client.batches(handle.id))
            if not lost:
                break
            say(f"the server has lost the vectors of {lost:,} batches; they are sent again", "yellow")
        return handle

    def _submit(self, client: Client, place: Place, progress: Display) -> JobHandle:
        return client.submit(
            self._wanted.corpus,
            decoder=self._wanted.decoder,
            batch_size=self._batch_size,
            seed=self._wanted.seed,
            options=self._wanted.options,
            name=self._wanted.name,
            priority=self._priority,
            idempotency_key=place.run.note.idempotency_key if place.run else None,
            progress=progress.show_sent,
            created=lambda job: self._begun(job, place),
        )

    def _begun(self, job: Job, place: Place) -> None:
        if self._job is None and place.run is not None and place.run.note.job_id == job.id:
            when = time_of(place.run.note.begun_at)
            so_far = how_far(job, self._wanted.corpus.rows)
            say(f"going on with job {job.id} of {when}: {so_far}; --fresh begins anew")
        self._job = job
        place.is_job(job.id)

    def _look(self, job: Job, place: Place, progress: Display) -> None:
        self._job = job
        progress.show_job(job)
        place.check(job)

    def _write(self, handle: JobHandle, tally: RowTally) -> int:
        rows = tally.of(handle.result_batches(order="index"))
        try:
            return write_results(self._output, rows, made_by=handle.made_by(), layout=self._layout)
        except BrokenPipeError:
            raise  # whoever reads them has had enough
        except (OSError, UnembedError) as error:
            known = as_unembed_error(error)
            if self._place is None or (self._place.is_own and self._place.run is None):
                raise
            home = f" --home {self._named_home}" if self._named_home else ""
            raise type(known)(
                f"{known.message}; the texts are kept: unembed results {handle.id} -o ELSEWHERE{home}"
            ) from error

    def how_to_go_on(self) -> str:
        """After an interruption."""
        return how(self._place, self._job, self._wanted.corpus.rows, self._output, is_sent=self._is_sent)
