"""The candidates of each row: its beams, then its samples; and what the network says of each.

A row's candidates are decoded together, but as rows of their own, so what a candidate is depends on (seed, row, its
number) alone, and not on the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.engine import Generated, generate
from unembed.models.decoder.quality import word_diversity
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import PAD, Tokenizer
from unembed.schemas import DecodeOptions

AT_ONCE: Final = {"cpu": 1024, "cuda": 8192}  # candidates in the loop together; more only fills memory


@dataclass(frozen=True)
class Draft:
    """A candidate, not yet scored."""

    ids: tuple[int, ...]  # END included, unless truncated
    text: str
    log_prob: float  # sum over its pieces, nats, given the embedding
    least_log_prob: float  # of the least likely piece
    truncated: bool
    diversity: float
    count: int = 1  # how many of the row's candidates have this text


def drafts(
    network: RET,
    tokenizer: Tokenizer,
    embeddings: Tensor,
    rows: Tensor,
    options: DecodeOptions,
    seed: int,
    limit: int,
    numbers: range | None = None,
    known: Sequence[Sequence[Draft]] = (),
) -> list[list[Draft]]:
    """For each of embeddings (N, E) its different texts, in the order in which they were found.

    The likeliest beams come first, as many as there are beams or candidates; samples are the rest. `rows` (N,) are
    the indices in the corpus. Texts hold at most `limit` pieces. `numbers` are those of the candidates to make, without
    it all. The texts `known` of each row come before what is found: beams with these texts are passed over for
    less likely ones.
    """
    numbers = range(options.candidates) if numbers is None else numbers
    beams = 0 if options.width == 1 else min(options.width, len(numbers))
    samples = len(numbers) - beams
    found = [list(row) for row in known] if known else [[] for _ in range(len(embeddings))]
    if beams:
        looked_at = options.width if known else beams
        for part in _parts(len(embeddings), options.width, embeddings.device):
            generated = beam_search(network, embeddings[part], options, limit)
            _read(generated, tokenizer, options.width, looked_at, beams, found[part])
    if samples:
        sampler = Sampler(options, seed)
        drawn = torch.tensor(numbers[:samples], device=rows.device)  # (K,)
        for part in _parts(len(embeddings), samples, embeddings.device):
            owners = rows[part].repeat_interleave(samples)  # (R·K,)
            keys = sampler.keys(owners, drawn.repeat(len(rows[part])))  # (R·K,)
            repeated = embeddings[part].repeat_interleave(samples, dim=0)  # (R·K, E)
            _read(generate(network, repeated, sampler, keys, limit), tokenizer, samples, samples, samples, found[part])
    return found


def _parts(count: int, each: int, device: torch.device) -> Iterator[slice]:
    """Stretches of rows whose candidates fit in the loop together."""
    size = max(1, AT_ONCE.get(device.type, AT_ONCE["cpu"]) // each)
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def _read(
    generated: Generated, tokenizer: Tokenizer, each: int, looked_at: int, most: int, found: list[list[Draft]]
) -> None:
    """Adds the first `looked_at` of every `each` neighbours to the row that they belong to, at most `most` of them."""
    lengths, ids = generated.lengths.tolist(), generated.ids.tolist()
    sums = generated.log_probs.sum(dim=1).tolist()
    least = generated.log_probs.min(dim=1).values.tolist() if generated.log_probs.numel() else []
    truncated = generated.truncated.tolist()
    for row, known in enumerate(found):
        places = {draft.text: place for place, draft in enumerate(known)}
        full = len(known) + most
        for number in range(row * each, row * each + looked_at):
            if len(known) == full:
                break
            pieces = tuple(ids[number][: lengths[number]])
            if pieces[0] == PAD:  # a beam that found nothing
                continue
            text = tokenizer.decode(pieces)
            if text in places:
                place = places[text]
                known[place] = replace(known[place], count=known[place].count + 1)
                continue
            places[text] = len(known)
            known.append(Draft(pieces, text, sums[number], least[number], truncated[number], word_diversity(text)))


def as_generated(chosen: list[Draft], device: torch.device) -> Generated:
    """The pieces of drafts as one padded batch, for `engine.log_likelihood`."""
    lengths = torch.tensor([len(draft.ids) for draft in chosen], dtype=torch.int64)
    ids = torch.full((len(chosen), int(lengths.max()) if len(chosen) else 0), PAD, dtype=torch.int64)
    for row, draft in enumerate(chosen):
        ids[row, : len(draft.ids)] = torch.tensor(draft.ids)
    nothing = torch.zeros(ids.shape, device=device)
    return Generated(ids.to(device), nothing, lengths.to(device))
