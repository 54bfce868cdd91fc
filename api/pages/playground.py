"""One vector, or sentence, decoded while somebody waits: its text, what else it might have been, and its pieces.

A vector goes the way of all others: a job of one row, of high priority, by the queue to a worker. So it is decoded by
what decodes corpora, under the same limits, and the API has no network in it. A sentence is embedded first, beside the
API, by the decoder's own encoder where that is installed; it goes along as the row's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import RedirectResponse, Response

from unembed.api import uploads
from unembed.api.callers import Caller
from unembed.api.deps import Deps, Needs
from unembed.api.looks import look
from unembed.api.pages.forms import fields
from unembed.api.pages.shell import render
from unembed.api.pages.vectors import Vector, example_of, read_vector
from unembed.api.pages.visitors import Operator, Visitor
from unembed.api.queries import require_visible
from unembed.boundary import describe
from unembed.corpus import encode_payload
from unembed.errors import (
    BusyError,
    CheckpointError,
    InputError,
    NotFoundError,
    UnavailableError,
    UnembedError,
    UnknownDecoderError,
)
from unembed.generations import rows_of
from unembed.models.decoder import catalog
from unembed.models.encoders.aside import embed_aside, runs_aside
from unembed.schemas import (
    ARROW_STREAM,
    DEFAULT_DECODER,
    DecodeOptions,
    Generation,
    Job,
    JobCreate,
    KeyRole,
    Priority,
)
from unembed.words import why_it_waits

router = APIRouter()

LABELS: Final = {"from": "playground"}
LONGEST_SENTENCE: Final = 300  # characters; decoders are made for short ones
# Where the form begins; what is left empty is as usual.
_CHOSEN: Final = {"candidates": "5", "edits": "", "temperature": "0", "seed": "0"}


class _Shown(BaseModel):
    """What a worker has told, as far as it is shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Alternative(_Shown):
    text: str
    score: float
    source: str


class ChosenPiece(_Shown):
    text: str
    probability: float


class ToldText(_Shown):
    candidates: tuple[Alternative, ...] = ()
    pieces: tuple[ChosenPiece, ...] = ()


@router.get("/playground")
def show_playground(
    request: Request,
    deps: Needs,
    visitor: Visitor,
    job: Annotated[str | None, Query(max_length=64, pattern="^[0-9A-Za-z_-]+$")] = None,
    decoder: Annotated[str, Query(max_length=200)] = "",
    example: Annotated[bool, Query()] = False,
) -> Response:
    """`job`: the one that shows what came out. `example`: the form has a vector in it."""
    given = {**_CHOSEN, "decoder": decoder or _first_decoder(), "vector": "", "sentence": ""}
    if example:
        given["vector"] = example_of(given["decoder"]) or ""
    if job is None:
        return _page(request, visitor, given)
    require_visible(deps, visitor, job)
    found, _ = look(deps, job)
    chosen = {name: getattr(found.options, name) for name in _CHOSEN if name != "seed"}
    given |= {name: "" if value is None else str(value) for name, value in chosen.items()}
    given |= {"decoder": found.decoder, "seed": str(found.seed)}
    return _page(request, visitor, given, job=found, **_outcome(deps, found))


@router.post("/playground")
async def play(request: Request, deps: Needs, operator: Operator) -> Response:
    given = {**_CHOSEN, "decoder": "", "vector": "", "sentence": ""} | await fields(request)
    try:
        job_id = await to_thread.run_sync(_submit, deps, operator, given)
    except (InputError, BusyError, NotFoundError, UnavailableError) as error:
        return await to_thread.run_sync(partial(_page, request, operator, given, wrong=error))
    return RedirectResponse(f"/playground?job={job_id}", HTTPStatus.SEE_OTHER)


def _submit(deps: Deps, caller: Caller, given: Mapping[str, str]) -> str:
    """The id of a job that waits. Raises InputError for what cannot be decoded, BusyError where there is no room."""
    entry, sentence = catalog.find(given["decoder"]), given["sentence"].strip()
    vector = _embedded(entry, sentence, given["vector"]) if sentence else read_vector(given["vector"])
    entry.require_dim(len(vector))
    try:
        options = DecodeOptions.model_validate(
            {name: given[name] for name in _CHOSEN if given[name] and name != "seed"}
        )
        spec = JobCreate(
            decoder=entry.name,
            embedding_dim=len(vector),
            seed=given["seed"],  # type: ignore[arg-type] # a text, which pydantic reads
            options=options,
            name="Playground",
            priority=Priority.HIGH,
            labels=LABELS,
        )
    except ValidationError as error:
        raise InputError(describe(error)) from None
    entry.check_needs(options)
    job, _ = deps.store.jobs.create(spec, client=caller.client, explains=True)
    try:
        head = deps.store.jobs.head(job.id)
        body = encode_payload(vector[None], [sentence] if sentence else None)
        uploads.accept(deps, uploads.Upload(head, 0, 0, ARROW_STREAM, None, body, caller.limits))
        deps.store.jobs.seal(job.id, 1, 1)
    except BaseException:
        deps.store.jobs.cancel(job.id)
        raise
    return job.id


def _embedded(entry: catalog.Entry, sentence: str, vector: str) -> Vector:
    """Raises InputError for what is no sentence alone, and where the decoder's encoder is not at hand."""
    if vector.strip():
        raise InputError("there are a sentence and a vector; expected one of them")
    if len(sentence) > LONGEST_SENTENCE:
        raise InputError(f"the sentence has {len(sentence)} characters; expected {LONGEST_SENTENCE} at most")
    if entry.encoder is None or not runs_aside(entry.encoder):
        raise InputError(
            f"the embedder of {entry.name!r}, {entry.encoder or 'which it does not name'}, is not installed where the "
            "API runs; expected a vector"
        )
    return embed_aside(entry.encoder, sentence)


def _outcome(deps: Deps, job: Job) -> dict[str, Any]:
    rows: list[Generation] = []
    if job.state.is_ended:
        rows = list(rows_of(deps.store.results.page(job.id, limit=1, order="index").rows))
    told = deps.store.figures.explained(job.id)
    return {
        "row": rows[0] if rows else None,
        "told": ToldText.model_validate(told) if told else None,
        "waits": why_it_waits(job),
    }


def _page(
    request: Request,
    visitor: Caller,
    given: Mapping[str, str],
    *,
    job: Job | None = None,
    row: Generation | None = None,
    told: ToldText | None = None,
    waits: str = "",
    wrong: UnembedError | None = None,
) -> Response:
    return render(
        request,
        "playground.html",
        status=HTTPStatus.OK if wrong is None else wrong.status,
        given=given,
        decoders=catalog.names(),
        has_example=example_of(given["decoder"]) is not None,
        embedders=_embedders(),
        longest_sentence=LONGEST_SENTENCE,
        may_decode=visitor.role is not KeyRole.READER,
        job=job,
        row=row,
        told=told,
        waits=waits,
        wrong=None if wrong is None else wrong.message,
    )


def _embedders() -> list[str]:
    """Those of the decoders that there are, as far as a sentence can be embedded by them here."""
    found = set()
    for name in catalog.names():
        with suppress(UnknownDecoderError, CheckpointError):  # it went, or is damaged: the list of decoders says so
            found.add(catalog.find(name).encoder)
    return sorted(encoder for encoder in found if encoder is not None and runs_aside(encoder))


def _first_decoder() -> str:
    """The default one, where it is there."""
    names = catalog.names()
    return DEFAULT_DECODER if DEFAULT_DECODER in names or not names else names[0]
