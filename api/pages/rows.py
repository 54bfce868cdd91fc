"""A look at a job's rows: at random, the best, the worst, those with a word, without a text, or as in the corpus."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from unembed.api.deps import Deps, Needs
from unembed.api.pages.shell import render
from unembed.api.pages.visitors import ShownJob, Visitor
from unembed.errors import InputError, StorageUnavailableError
from unembed.generations import rows_of
from unembed.models.store import FoundPage, ResultsPage
from unembed.models.store.ids import index_cursor
from unembed.schemas import Generation, Job

router = APIRouter()

_A_PAGE: Final = 25


class Show(StrEnum):
    RANDOM = "random"
    BEST = "best"
    WORST = "worst"
    INDEX = "index"
    ERRORS = "errors"


@dataclass(frozen=True)
class RowsAsked:
    """What is looked for. With words to search for, the rows that have them are shown, by index."""

    show: Show
    words: str
    seed: int
    begin: int | None  # the index to begin at
    cursor: str | None

    def link(self, **changes: object) -> str:
        """The query of the same look, with changes; what is as usual is left out."""
        given = {"show": self.show.value, "q": self.words, "seed": self.seed, "from": self.begin, "cursor": self.cursor}
        usual = {"show": Show.RANDOM.value, "q": "", "seed": 0, "from": None, "cursor": None}
        wanted = {name: value for name, value in (given | changes).items() if value != usual[name]}
        return f"?{urlencode(wanted)}" if wanted else "?"


@dataclass(frozen=True)
class RowsShown:
    rows: list[Generation]
    next_cursor: str | None = None
    searched_to: int | None = None  # of a search that has not come to the end yet
    wrong: str | None = None  # why there is nothing to show


@router.get("/jobs/{job_id}/rows")
def show_rows(
    request: Request,
    job_id: ShownJob,
    deps: Needs,
    _visitor: Visitor,
    show: Show = Show.RANDOM,
    q: Annotated[str, Query(max_length=200)] = "",
    seed: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    begin: Annotated[str, Query(alias="from", pattern="^[0-9]{0,18}$")] = "",
    cursor: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    job = deps.store.jobs.get(job_id)
    asked = RowsAsked(show, q.strip(), seed, int(begin) if begin else None, cursor or None)
    return render(
        request,
        "rows.html",
        job=job,
        asked=asked,
        shown=_shown(deps, job, asked),
        shows=list(Show),
        is_in_files=job.results_uri is not None,
    )


def _shown(deps: Deps, job: Job, asked: RowsAsked) -> RowsShown:
    try:
        page = _page(deps, job, asked)
    except (StorageUnavailableError, InputError) as error:
        return RowsShown([], wrong=error.message)
    searched_to = page.searched_to if isinstance(page, FoundPage) else None
    return RowsShown(list(rows_of(deps.store.carried.beside(job.id, page.rows))), page.next_cursor, searched_to)


def _page(deps: Deps, job: Job, asked: RowsAsked) -> ResultsPage | FoundPage:
    """Raises InputError for a cursor that is none, and for what rows in files cannot be asked."""
    store, cursor = deps.store, asked.cursor
    if job.results_uri is not None and (asked.words or asked.show in (Show.BEST, Show.WORST)):
        raise InputError("the rows of this job are in files, which are read in their order alone")
    if asked.words:
        return store.samples.with_text(job.id, asked.words, cursor=cursor, limit=_A_PAGE)
    if asked.show is Show.BEST or asked.show is Show.WORST:
        side = "best" if asked.show is Show.BEST else "worst"
        return store.samples.by_quality(job.id, side, cursor=cursor, limit=_A_PAGE)  # type: ignore[arg-type]
    if asked.show is Show.RANDOM and job.results_uri is None:
        return store.samples.drawn(job.id, asked.seed, cursor=cursor, limit=_A_PAGE)
    if cursor is None and asked.begin:
        cursor = index_cursor(asked.begin - 1)
    if asked.show is Show.ERRORS:
        return store.results.errors(job.id, cursor=cursor, limit=_A_PAGE)
    return store.results.page(job.id, cursor=cursor, limit=_A_PAGE, order="index")
