"""The decoders: what each reads, how well it does, what not to expect of it, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unembed.api.deps import Needs
from unembed.api.pages.addresses import server_of
from unembed.api.pages.charts import Bar, bars
from unembed.api.pages.curves import Curve
from unembed.api.pages.markdown import to_html
from unembed.api.pages.shell import count_of, render
from unembed.api.pages.visitors import Visitor
from unembed.errors import CheckpointError, UnknownDecoderError
from unembed.models.decoder import catalog
from unembed.models.decoder.card import Evaluation, card_of, evaluation_of
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.ways import BY_DEFAULT
from unembed.models.store.totals import Outcome
from unembed.models.store.values import Total
from unembed.schemas import DEFAULT_DECODER, DecoderInfo, RowStatus

router = APIRouter()

_CARD_BELOW: Final = 2  # the rank of the heading over the card
_MANIFOLD_FILE: Final = "manifold.json"


@dataclass(frozen=True)
class Listed:
    name: str
    info: DecoderInfo | None
    evaluation: Evaluation
    wrong: str | None = None  # with a damaged one


@dataclass(frozen=True)
class DecodedHere:
    """What the workers of this server have decoded with it, ever."""

    rows: int
    errors: int
    off_manifold: int
    quality: list[Bar]  # how many rows have an overall_quality of up to .1, .2, ...
    table: list[tuple[str, int]]

    @classmethod
    def of(cls, totals: Sequence[Total]) -> DecodedHere:
        done = [total for total in totals if total.outcome == Outcome.DONE]
        counts = [sum(column) for column in zip(*(total.histograms["quality"].counts for total in done), strict=True)]
        counts = counts[:10] if counts else [0] * 10  # none is above 1
        names = [f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}" for tenth in range(10)]
        says = [f"{name}: {count_of(count, 'row')}" for name, count in zip(names, counts, strict=True)]
        return cls(
            rows=sum(sum(total.rows.values()) for total in done),
            errors=sum(total.rows[RowStatus.ERROR] for total in done),
            off_manifold=sum(total.rows_off_manifold for total in done),
            quality=bars(counts, says, top=max(counts)),
            table=list(zip(names, counts, strict=True)),
        )


@router.get("/decoders")
def show_decoders(request: Request, _visitor: Visitor) -> Response:
    return render(
        request, "decoders.html", decoders=[_listed(name) for name in catalog.names()], default=DEFAULT_DECODER
    )


def _listed(name: str) -> Listed:
    try:
        entry = catalog.find(name)
    except CheckpointError as error:
        return Listed(name, None, Evaluation(), error.message)
    return Listed(name, entry.info, evaluation_of(entry.path))


@router.get("/decoders/{name}")
def show_decoder(
    request: Request, name: Annotated[str, Path(max_length=200)], deps: Needs, _visitor: Visitor
) -> Response:
    try:
        entry = catalog.find(name)
    except UnknownDecoderError as error:
        raise HTTPException(404, error.message) from None
    card, config, evaluation = card_of(entry.path), entry.config, evaluation_of(entry.path)
    return render(
        request,
        "decoder.html",
        entry=entry,
        network=config.network if isinstance(config, CheckpointConfig) else None,
        is_calibrated=isinstance(config, CheckpointConfig) and config.calibration is not None,
        knows_manifold=(entry.path / _MANIFOLD_FILE).is_file(),
        is_default=entry.name == DEFAULT_DECODER,
        evaluation=evaluation,
        curves_of=_curves_of(evaluation),
        here=DecodedHere.of([total for total in deps.store.totals.all().ends if total.decoder == name]),
        card=to_html(card, below=_CARD_BELOW) if card else None,
        server=server_of(request),
    )


def _curves_of(evaluation: Evaluation) -> list[Curve]:
    """Of each way to decode, that of the default first."""
    ways = sorted(evaluation.judged, key=lambda way: way != BY_DEFAULT)
    return [curve for way in ways if (curve := Curve.of(way, evaluation.judged[way]))]
