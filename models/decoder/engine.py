"""The generation loop: embeddings in, piece ids out. It knows nothing of text.

Keys and values live in one static buffer. Rows that have ended are dropped from the batch and cost nothing further;
dropping copies the buffer, so it waits until an eighth of the rows has ended, and on a GPU it looks only now and then,
because looking waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unembed.models.decoder.ret import RET, Cache
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, PAD
from unembed.schemas import DecodeOptions

DROP_SHARE = 8  # drop ended rows when there are at least 1/8 of them
GPU_LOOK_EVERY = 8  # positions
LIKELIEST = DecodeOptions(
    candidates=1, repetition_penalty=1.0
)  # greedy, by the network's own probabilities and nothing else
LIKELIHOOD_ROWS = 64  # rows of like length whose likelihood is computed together


@dataclass(frozen=True)
class Generated:
    """N rows of pieces; a row ends with END unless it ran into the limit."""

    ids: Tensor  # (N, T) int64, PAD after the end
    log_probs: Tensor  # (N, T) float32: log p(piece | embedding, pieces before), 0 after the end
    lengths: Tensor  # (N,) int64, END counted

    @property
    def truncated(self) -> Tensor:
        """(N,) bool: ended by the limit and not by END."""
        last = self.ids.gather(1, (self.lengths - 1).clamp_min(0)[:, None])[:, 0]
        return last != END


@torch.no_grad()
def generate(network: RET, embeddings: Tensor, sampler: Sampler, keys: Tensor, max_pieces: int) -> Generated:
    """Decode embeddings (N, E); `keys` (N,) are what the sampler draws with: `Sampler.keys`.

    Runs under whatever autocast is on; log-probabilities are of the untouched logits at temperature 1.
    """
    count, device = embeddings.shape[0], embeddings.device
    ids = torch.full((count, max_pieces), PAD, dtype=torch.int64, device=device)
    log_probs = torch.zeros((count, max_pieces), device=device)
    ended_at = torch.full((count,), max_pieces, dtype=torch.int64, device=device)

    reading = network.read(embeddings)  # (N, C + G)
    cache = Cache.empty(network.config, count, max_pieces + 1, cache_like(reading))
    active = torch.arange(count, device=device)  # the rows still in the batch: places in the output
    alive = torch.ones(count, dtype=torch.bool, device=device)  # (B,): of those, not yet ended
    previous: Tensor | None = None

    for position in range(max_pieces):
        logits = network.step(reading, previous, cache, position).float()  # (B, V)
        chosen = sampler.choose(logits, ids[active, :position], keys[active], position)  # (B,)
        chosen = torch.where(alive, chosen, PAD)
        picked = logits.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0]  # (B,)
        ids[active, position] = chosen
        log_probs[active, position] = torch.where(alive, picked, 0.0)
        ending = alive & (chosen == END)
        ended_at[active[ending]] = position + 1
        alive = alive & ~ending
        previous = chosen
        if device.type == "cpu" or position % GPU_LOOK_EVERY == GPU_LOOK_EVERY - 1:
            left = int(alive.sum())
            if left == 0:
                break
            if (len(alive) - left) * DROP_SHARE >= len(alive):
                kept = alive.nonzero()[:, 0]  # (B',)
                active, alive, previous = active[kept], alive[kept], previous[kept]
                reading, cache = reading[kept], cache.keep(kept, position + 1)
    longest = int(ended_at.max()) if count else 0
    return Generated(ids[:, :longest], log_probs[:, :longest], ended_at)


@torch.no_grad()
def log_likelihood(network: RET, embeddings: Tensor, generated: Generated) -> Tensor:
    """Mean log p(piece | embedding) per row (N,), in nats, of pieces that are given; zeros mean "no embedding"."""
    return piece_log_probs(network, embeddings, generated).sum(dim=1) / generated.lengths.clamp_min(1)


@torch.no_grad()
def piece_log_probs(
    network: RET,
    embeddings: Tensor,
    generated: Generated,
    owners: Tensor | None = None,
    rows: int = LIKELIHOOD_ROWS,
) -> Tensor:
    """log p(piece | embedding, pieces before) (M, T), in nats, of pieces that are given; 0 after the end.

    `owners` (M,) say which of the embeddings (R, E) each text is given; None: each its own, so that R is M. Texts go by
    length, `rows` at a time: one that ran into the limit would otherwise make each as long as it.
    """
    log_probs = torch.zeros(generated.ids.shape, device=embeddings.device)
    if not generated.ids.numel():
        return log_probs
    for some in torch.split(generated.lengths.argsort(), rows):
        longest = int(generated.lengths[some].max())
        ids = generated.ids[some, :longest]  # (B, T)
        given = embeddings[some if owners is None else owners[some]]  # (B, E)
        logits: Tensor = network(given, ids[:, :-1]).float()  # (B, T, V)
        picked = logits.log_softmax(dim=-1).gather(2, ids[:, :, None])[:, :, 0]  # (B, T)
        log_probs[some, :longest] = picked * (ids != PAD)
    return log_probs


def cache_like(reading: Tensor) -> Tensor:
    device = reading.device.type
    if torch.is_autocast_enabled(device):
        return reading.new_empty(0, dtype=torch.get_autocast_dtype(device))
    return reading
