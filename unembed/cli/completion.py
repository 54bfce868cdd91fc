"""What a shell offers at a TAB: jobs, decoders, labels and formats.

A running server is asked, for a second at most. Where there is none, or it refuses, nothing is offered and nothing is
said; nothing is started and nothing is made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import typer

from unembed.cli.common import api_key
from unembed.client import Client
from unembed.home import known_url
from unembed.schemas import DecoderInfo, Job, JobState

_TIMEOUT: Final = 1.0  # seconds: a person waits for it
_NEWEST: Final = 100  # jobs
_WORD: Final = re.compile(r"[\w@%+=,./-]+")  # what no shell wants quoted

Offer = tuple[str, str]  # what is completed, and a word on it where the shell shows one

_RUNS: Final = (JobState.RECEIVING, JobState.QUEUED, JobState.RUNNING)
_ENDED: Final = tuple(state for state in JobState if state.is_ended)
# The jobs with which a verb can do something; others take any.
_STATES: Final = {
    "cancel": _RUNS,
    "wait": (*_RUNS, JobState.CANCELLING),
    "retry": (JobState.PARTIAL, JobState.FAILED, JobState.RUNNING),
    "rm": _ENDED,
}


def complete_jobs(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The newest jobs: by name where no other has it, else by id."""
    states = _STATES.get(str(ctx.info_name), tuple(JobState))

    def ask(client: Client) -> list[Offer]:
        offers = _offers(client.jobs(limit=_NEWEST).jobs, states, by_id=bool(incomplete))
        return [offer for offer in offers if offer[0].startswith(incomplete)]

    return _asked(ctx, ask)


def complete_decoders(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of the server; where none is known, those on this machine, with which `decode` would work."""

    def here() -> list[Offer]:
        from unembed.models.decoder import catalog

        return _decoders(catalog.described(), incomplete)

    return _asked(ctx, lambda client: _decoders(client.decoders(), incomplete), here)


def complete_labels(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """NAME=VALUE, as the newest jobs have them."""

    def ask(client: Client) -> list[Offer]:
        jobs = client.jobs(limit=_NEWEST).jobs
        uses = Counter(f"{name}={value}" for job in jobs for name, value in job.labels.items())
        found = sorted(label for label in uses if label.startswith(incomplete) and _WORD.fullmatch(label))
        return [(label, f"jobs: {uses[label]}") for label in found]

    return _asked(ctx, ask)


def complete_words(words: Collection[str]) -> Callable[[str], list[str]]:
    """Always the same."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _asked(
    ctx: typer.Context, ask: Callable[[Client], list[Offer]], otherwise: Callable[[], list[Offer]] = list
) -> list[Offer]:
    """The answer of the server that the command line names; `otherwise` where it names none. No failure is heard of."""
    try:
        url = known_url(ctx.params.get("url"), ctx.params.get("home"))
        if url is None:
            return otherwise()
        with Client(url, api_key(), timeout=_TIMEOUT, retries=0, busy_timeout=0.0) as client:
            return ask(client)
    except Exception:  # whatever it is, a person who presses TAB wants no message in the middle of their command
        return []


def _offers(jobs: Sequence[Job], states: Sequence[JobState], *, by_id: bool) -> Iterator[Offer]:
    """`by_id`: also jobs that have a name, by their ids."""
    names = Counter(job.name for job in jobs)
    for job in jobs:
        if job.state not in states:
            continue
        has_name = job.name is not None and names[job.name] == 1 and _WORD.fullmatch(job.name)
        if has_name:
            yield str(job.name), f"{job.state}, {job.rows.total:,} rows"
        if by_id or not has_name:
            yield job.id, f"{job.state}, {job.rows.total:,} rows, {job.name or 'no name'}"


def _decoders(found: Sequence[DecoderInfo], incomplete: str) -> list[Offer]:
    return [
        (one.name, f"{one.embedding_dim} dimensions" + (f", {one.encoder}" if one.encoder else ""))
        for one in found
        if one.name.startswith(incomplete)
    ]
