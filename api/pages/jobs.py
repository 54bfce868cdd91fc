"""The list of jobs, with its search and its filters."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from unembed.api.deps import Needs
from unembed.api.pages.shell import render
from unembed.api.pages.visitors import Visitor
from unembed.models.decoder import catalog
from unembed.models.store import JobFilter
from unembed.schemas import LABEL_FILTER, JobPage, JobState

router = APIRouter()

_A_PAGE: Final = 25

# A form sends a field that nothing was chosen in as an empty text, which asks for nothing.
_Text = Annotated[str, Query(max_length=300)]


@router.get("/jobs")
def show_jobs(
    request: Request,
    deps: Needs,
    visitor: Visitor,
    q: _Text = "",
    state: _Text = "",
    decoder: _Text = "",
    label: _Text = "",
    cursor: _Text = "",
) -> Response:
    wrong = _what_is_wrong(state, label)
    page = JobPage(jobs=[])
    if not wrong:
        name, equals, value = label.partition("=")
        wanted = JobFilter(
            state=JobState(state) if state else None,
            decoder=decoder or None,
            search=q.strip() or None,
            labels=((name, value if equals else None),) if label else (),
            clients=visitor.sees,
        )
        page = deps.store.jobs.page(limit=_A_PAGE, cursor=cursor or None, wanted=wanted)
    asked = {
        name: value for name, value in (("q", q), ("state", state), ("decoder", decoder), ("label", label)) if value
    }
    following = urlencode({**asked, "cursor": page.next_cursor}) if page.next_cursor else None
    return render(
        request,
        "jobs.html",
        jobs=page.jobs,
        asked={"q": q, "state": state, "decoder": decoder, "label": label},
        is_narrowed=bool(asked),
        wrong=wrong,
        states=[each.value for each in JobState],
        decoders=sorted({*catalog.names(), *filter(None, [decoder])}),
        following=following,
        first=urlencode(asked) if cursor else None,
        here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
    )


def _what_is_wrong(state: str, label: str) -> str | None:
    """What cannot be asked for, in a line."""
    if state and state not in [each.value for each in JobState]:
        return f"There is no state {state!r}; expected {', '.join(each.value for each in JobState)}."
    if label and not re.fullmatch(LABEL_FILTER, label):
        return f"{label!r} is no label; expected a name, or name=value, of letters, digits and . _ / -"
    return None
