"""What is read page by page, to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

from unembed.calls import requests
from unembed.calls.arguments import choice
from unembed.calls.requests import RowsPage
from unembed.calls.steps import Call, Flow, ask
from unembed.errors import CheckpointError, NotFoundError, UnknownDecoderError
from unembed.results import MadeBy
from unembed.schemas import Batch, Job, Order

_ORDERS: Final = get_args(Order)


@dataclass(frozen=True)
class Pages:
    """The rows of a job, a page after the other."""

    after: Callable[[str | None], Call[RowsPage]]  # the page that begins at a cursor
    may_be_empty: bool  # a page without rows may have others after it

    def next_after(self, page: RowsPage) -> str | None:
        """The cursor of the next page; None: nothing more comes, as far as is known now."""
        return page.cursor if page.rows.num_rows or self.may_be_empty else None


def pages_of_results(job_id: str, order: Order) -> Pages:
    choice("order", order, _ORDERS)
    return Pages(lambda cursor: requests.results(job_id, order, cursor), may_be_empty=False)


def pages_of_errors(job_id: str) -> Pages:
    return Pages(lambda cursor: requests.errors(job_id, cursor), may_be_empty=True)


def all_batches(job_id: str) -> Flow[list[Batch]]:
    found: list[Batch] = []
    cursor: str | None = None
    while True:
        page = yield from ask(requests.batches(job_id, cursor))
        found += page.batches
        cursor = page.next_cursor
        if cursor is None:
            return found


def made_by(job: Job) -> Flow[MadeBy]:
    """What made the rows of a job."""
    try:
        checkpoint = (yield from ask(requests.decoder(job.decoder))).checkpoint
    except (CheckpointError, NotFoundError, UnknownDecoderError):  # it was there when the job ran
        checkpoint = None
    kinds: dict[object, Batch] = {}  # one batch of each is enough
    cursor: str | None = None
    while True:
        page = yield from ask(requests.batches(job.id, cursor))
        kinds |= {(batch.engine, batch.precision, batch.device): batch for batch in page.batches}
        cursor = page.next_cursor
        if cursor is None:
            return MadeBy.of(job, kinds.values(), checkpoint)
