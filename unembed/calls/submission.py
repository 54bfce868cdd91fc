"""From a corpus to its job: opened, sent in batches, sealed; continued where it was begun before."""

from __future__ import annotations

import hashlib
import os
import shlex
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import tee
from typing import TypeAlias

from unembed import tracing
from unembed.calls import requests
from unembed.calls.arguments import checked, count, flag, function, header, names, place, text
from unembed.calls.carrying import Carrying
from unembed.calls.reading import all_batches
from unembed.calls.steps import Call, Flow, Many, OneOfMany, ask, work
from unembed.corpus import Coding, Corpus, ReferencedCorpus, Slice, Stream, as_corpus, as_stream, encode_payload
from unembed.corpus import open_reference as open_referenced
from unembed.embedders import may_be_same
from unembed.errors import EmbedderError, InputError, UnembedError
from unembed.roots import as_uri
from unembed.schemas import Batch, DecodeOptions, Job, JobCreate, JobState, Priority, Webhook

Sent: TypeAlias = Callable[[int, int], object]  # rows sent, rows in all; of a stream, as far as it is known
_Sendable: TypeAlias = Corpus | Stream


def submit(
    source: object,
    *,
    decoder: str,
    batch_size: int,
    seed: int,
    options: DecodeOptions | None,
    name: str | None,
    column: str | None,
    id_column: str | None,
    ids: Sequence[object] | None,
    cells: Coding | str | None,
    embedder: str | None,
    idempotency_key: str | None,
    by_reference: bool,
    results_to: str | os.PathLike[str] | None,
    priority: Priority | str,
    labels: Mapping[str, str] | None,
    webhook: Webhook | None,
    carry: Sequence[str] | None,
    progress: Sent,
    created: Callable[[Job], object],
) -> Flow[Job]:
    """`Client.submit` says what all of it means."""
    # A key of our own makes it safe to try again when the answer to this request is lost.
    key = uuid.uuid4().hex if idempotency_key is None else header("idempotency_key", idempotency_key)
    batch_size = count("batch_size", batch_size, 1)
    column, id_column = text("column", column), text("id_column", id_column)
    paths = names("carry", carry)
    function("created", created)
    results_uri = None if results_to is None else as_uri(place("results_to", results_to))
    corpus: _Sendable | ReferencedCorpus
    if flag("by_reference", by_reference):
        if cells is not None:
            raise InputError("cells do not go with a corpus by reference, whose workers read floats only")
        corpus = yield from work(lambda: _referenced(source, column, id_column, ids))
    else:
        # With a key the corpus must be known again, so that what passes by once has to be held.
        opened = as_stream if idempotency_key is None else as_corpus
        corpus = yield from work(lambda: opened(source, column=column, id_column=id_column, ids=ids, cells=cells))
    if named := text("embedder", embedder) or corpus.embedder:
        yield from _require_reader(decoder, named)
    carrying = yield from work(lambda: Carrying.of(corpus, paths))
    spec = checked(
        JobCreate,
        decoder=decoder,
        embedding_dim=corpus.dim,
        seed=seed,
        options=DecodeOptions() if options is None else options,
        name=name,
        results_uri=results_uri,
        priority=priority,
        labels={} if labels is None else labels,
        webhook=webhook,
        carry={} if carrying is None else carrying.carry,
        fingerprint=(yield from work(lambda: corpus.fingerprint)) if idempotency_key else None,
    )
    with tracing.span("submit", kind="CLIENT", decoder=decoder, rows=corpus.rows) as shown:
        job = yield from ask(requests.create(spec, key))
        shown.note(job=job.id)
        try:
            created(job)
            if isinstance(corpus, ReferencedCorpus):
                return (yield from _refer(job, corpus, batch_size, progress))
            return (yield from _complete(job, corpus, carrying, batch_size, progress))
        except BaseException as error:
            if idempotency_key is None:
                yield from _try_to_cancel(job.id)
                error.add_note(f"The job {job.id} is cancelled, for it was only partly sent.")
            else:
                error.add_note(
                    f"The job {job.id} is only partly sent: submit it again under its idempotency_key to go on."
                )
            raise


def _require_reader(decoder: str, embedder: str) -> Flow[None]:
    """Raises EmbedderError, naming the decoders that read this embedder's vectors, where this one does not."""
    there = {one.name: one.encoder for one in (yield from ask(requests.decoders())) if one.encoder}
    reads = there.get(decoder)
    if reads is None or may_be_same(reads, embedder):
        return
    others = [name for name, encoder in there.items() if may_be_same(encoder, embedder)]
    advice = (
        f"--decoder {others[0]} reads them"
        if others
        else "no decoder here reads them, and docs/training.md says how to make one"
    )
    raise EmbedderError(
        f"the vectors are of {embedder!r}, but the decoder {decoder!r} reads those of {reads!r}; {advice}. If they "
        f"are of {reads!r} after all: --embedder {shlex.quote(reads)}"
    )


def _referenced(
    source: object, column: str | None, id_column: str | None, ids: Sequence[object] | None
) -> ReferencedCorpus:
    named = [source] if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(named, (list, tuple)) or not all(isinstance(each, (str, os.PathLike)) for each in named):
        raise InputError(f"a corpus by reference is the paths or URIs of files, not {type(source).__name__}")
    if ids is not None:
        raise InputError("a corpus by reference is the paths or URIs of files, not ids in memory")
    return open_referenced(named, column, id_column)


def _refer(job: Job, corpus: ReferencedCorpus, batch_size: int, progress: Sent) -> Flow[Job]:
    """Sends where the batches are, and seals the job; nothing if it was sealed before."""
    if job.state is not JobState.RECEIVING:
        return job
    batches = rows = 0
    for request in (yield from work(lambda: list(corpus.requests(batch_size)))):
        yield from ask(requests.refer(job.id, request.model_dump(mode="json")))
        batches, rows = batches + len(request.batches), rows + sum(each.rows for each in request.batches)
        progress(rows, corpus.rows)
    return (yield from ask(requests.seal(job.id, batches, rows)))


def _complete(job: Job, corpus: _Sendable, carrying: Carrying | None, batch_size: int, progress: Sent) -> Flow[Job]:
    """Sends what has not arrived, and what the server has lost since."""
    there = (yield from all_batches(job.id)) if job.batches.total else []
    known = {batch.ordinal: batch for batch in there}
    if job.state is JobState.RECEIVING or any(batch.lacks_its_vectors for batch in known.values()):
        return (yield from _send(job, corpus, carrying, known, batch_size, progress))
    return job


def _send(
    job: Job,
    corpus: _Sendable,
    carrying: Carrying | None,
    known: Mapping[int, Batch],
    batch_size: int,
    progress: Sent,
) -> Flow[Job]:
    """Sends the batches that are not known, or whose vectors are lost, and seals the job if it is open."""
    size = _cut_before(known.values()) or batch_size
    batches = rows = sent = 0

    def parts() -> Iterator[OneOfMany]:
        nonlocal batches, rows
        for ordinal, batch in enumerate(_with_carried(corpus.batches(size), carrying)):
            batches, rows = ordinal + 1, rows + len(batch)
            yield OneOfMany(len(batch), _put(job.id, ordinal, batch, known.get(ordinal)))

    def settled(more: int) -> None:
        nonlocal sent
        sent += more
        progress(sent, corpus.rows or rows)

    yield Many(parts(), settled)
    if job.sealed_at is not None:
        return (yield from ask(requests.job(job.id)))
    return (yield from ask(requests.seal(job.id, batches, rows)))


def _with_carried(batches: Iterator[Slice], carrying: Carrying | None) -> Iterator[Slice]:
    """The same, each with what its rows carry."""
    if carrying is None:
        return batches
    ours, sizes = tee(batches)
    beside = carrying.beside(map(len, sizes))
    return (replace(batch, carried=rows) for batch, rows in zip(ours, beside, strict=True))


def _put(job_id: str, ordinal: int, batch: Slice, known: Batch | None) -> Callable[[], Call[None] | None]:
    """Makes the call, where there is something to send."""

    def call() -> Call[None] | None:
        payload = encode_payload(batch.embeddings, batch.ids, batch.faults, batch.carried)
        # One that arrived as something else is sent too: the server says what is wrong.
        there = known is not None and known.sha256 == hashlib.sha256(payload).hexdigest()
        if known is not None and there and not known.lacks_its_vectors:
            return None
        return requests.put(job_id, ordinal, batch.first_index, payload)

    return call


def _cut_before(known: Iterable[Batch]) -> int | None:
    """The batch size that a corpus was begun with: another one would fit no batch that has arrived.

    Any batch but the first tells by where it begins; the last one is shorter than the others.
    """
    return max((batch.first_index // batch.ordinal if batch.ordinal else batch.rows for batch in known), default=None)


def _try_to_cancel(job_id: str) -> Flow[None]:
    try:
        yield from ask(requests.cancel(job_id))
    except UnembedError:
        return  # the error that led here says more; a job that is never sealed decodes what it has and harms nobody
