"""Where a decode in sight of a person happens: on the server that is known, or on one that is started for it.

Either way the run is kept under the home folder (unembed/runs.py) until its texts are in a file, so that the same
command goes on with it. A server of its own has its home in the run's folder: the texts are in its database, and the
vectors, which are in the corpus anyway, only in the memory of its Redis.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from unembed import runs
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.cli.home_space import remove_old, usable_home
from unembed.cli.watch import HomeWatch
from unembed.corpus import Corpus
from unembed.errors import ConflictError, UnembedError
from unembed.home import answering_server, home_folder
from unembed.quick_imports import quick_imports
from unembed.schemas import DecodeOptions

if TYPE_CHECKING:
    from unembed.models.decoder.catalog import Entry
    from unembed.worker.launch import Stack

_AT_ONCE: Final = 100  # runs of the same key


@dataclass(frozen=True)
class Wanted:
    """What is to be decoded, and how: what makes a run the same as one that was begun before."""

    corpus: Corpus
    name: str
    decoder: str
    seed: int
    options: DecodeOptions

    def key(self, where: str, checkpoint: str | None = None) -> str:
        from unembed import __version__

        return runs.key_of(
            corpus=self.corpus.fingerprint,
            name=self.name,
            decoder=self.decoder,
            checkpoint=checkpoint,
            seed=self.seed,
            options=self.options.model_dump(mode="json"),
            version=__version__,
            where=where,
        )


@dataclass
class Place:
    """Where the run happens. `run` None: nothing can be kept, as there is no home folder to keep it in."""

    url: str
    run: runs.Kept | None
    is_own: bool  # a server of its own, which ends with the command
    check: Callable[..., object] = lambda *_: None  # raises CannotWorkError when nothing can ever come of it
    forget: Callable[[], object] = lambda: None
    replaced: str | None = None  # the job that is begun anew, and that nobody waits for any more

    def is_job(self, job_id: str) -> None:
        """From now on the run is known to be this job."""
        if self.run is not None:
            self.run = runs.with_job(self.run, job_id)

    def begin_anew(self) -> None:
        """Under another idempotency key: what the old one stood for is gone."""
        if self.run is not None:
            self.run = runs.begin(self.run.folder, self.run.note.source, self.run.note.url)

    def over(self) -> None:
        """The texts are in their file: nothing is kept any more."""
        if self.run is not None:
            self.forget()


@contextmanager
def foreground(
    wanted: Wanted, *, url: str | None, home: Path | None, workers: int | None, fresh: bool
) -> Iterator[Place]:
    """The place of this run. With `fresh`, what is kept of it is thrown away first."""
    named = url or os.environ.get("UNEMBED_URL")
    folder = usable_home(home, None if named else wanted.corpus.rows)
    server = named if named or folder is None else server_for(None, folder)
    if folder is not None:
        remove_old(folder)
    if server and (named or folder is None or not _is_begun_here(wanted, folder)):
        say(f"using the server at {server}", "dim")
        yield _on_server(wanted, server, folder, fresh)
        return
    with ExitStack() as exits:
        yield _on_our_own(wanted, folder, workers, fresh, exits)


def _is_begun_here(wanted: Wanted, folder: Path) -> bool:
    """Whether a server of its own, and not the one that runs now, has begun with this."""
    if not runs.runs_folder(folder).is_dir():
        return False
    try:
        key = wanted.key("here", _checkpoint(wanted))
    except UnembedError:  # a decoder that only that server knows
        return False
    return runs.find(next(runs.places(folder, key))) is not None


def _on_server(wanted: Wanted, url: str, folder: Path | None, fresh: bool) -> Place:
    if folder is None:
        return Place(url, None, is_own=False)
    place = next(runs.places(folder, wanted.key(url)))
    kept = runs.find(place)
    run = runs.begin(place, wanted.corpus.what, url) if fresh or kept is None else kept
    replaced = kept.note.job_id if kept and fresh else None
    return Place(url, run, is_own=False, forget=lambda: shutil.rmtree(place, ignore_errors=True), replaced=replaced)


def _on_our_own(wanted: Wanted, folder: Path | None, workers: int | None, fresh: bool, exits: ExitStack) -> Place:
    checkpoint = _checkpoint(wanted)
    with needs("local"), quick_imports():
        from unembed.models.settings import read_settings
        from unembed.worker.launch import Stack

    read_settings()  # a wrong one is told before anything starts

    def start(home: Path) -> Stack:
        stack = Stack(home, port=0, flower_port=None, workers=workers, keeps_vectors=False, say=say)
        return exits.enter_context(stack)

    if folder is None:
        temporary = Path(exits.enter_context(TemporaryDirectory(prefix="unembed-", ignore_cleanup_errors=True)))
        stack, run = start(temporary), None
    else:
        stack, run = _first_free(wanted, folder, wanted.key("here", checkpoint), fresh, start)
    exits.callback(stack.kill)  # what is kept is in the database, so no part has to end in order
    return Place(stack.url, run, is_own=True, check=HomeWatch(stack), forget=stack.forget)


def _first_free(
    wanted: Wanted, folder: Path, key: str, fresh: bool, start: Callable[[Path], Stack]
) -> tuple[Stack, runs.Kept]:
    """The first place of this key that no other process uses, its server started."""
    from unembed.worker.home_lock import remove_home

    for place in islice(runs.places(folder, key), _AT_ONCE):
        try:
            if fresh:
                remove_home(place)
            kept = runs.find(place)
            if kept is None:
                say(f"no server is running: starting one for this job in {place}", "dim")
            stack = start(place)
        except ConflictError:
            continue
        return stack, kept or runs.begin(place, wanted.corpus.what)
    raise ConflictError(f"{_AT_ONCE} decodes of this corpus run already from {folder}")


def _checkpoint(wanted: Wanted) -> str:
    return entry_for(wanted.decoder, wanted.corpus.dim, wanted.options).checkpoint


def entry_for(decoder: str, dim: int, options: DecodeOptions) -> Entry:
    """The decoder, as it lies on this machine. Raises UnknownDecoderError, DimensionError for vectors of another
    dimension than it reads, and MissingExtraError."""
    with needs("local"), quick_imports():
        from unembed.models.decoder import catalog

    entry = catalog.find(decoder)
    entry.require_dim(dim)
    entry.check_needs(options)
    return entry


def server_for(url: str | None, home: Path | None) -> str | None:
    """The server that is named, or runs from the home folder and answers; None: one is started."""
    named = url or os.environ.get("UNEMBED_URL")
    running = None if named else answering_server(home_folder(home))
    return named or (running.url if running else None)
