"""Beam search: the likeliest texts of each row, by the decoder's own probabilities. It knows nothing of text.

A row's beams are neighbours in the batch, and rows never see one another: what a row gets does not depend on the batch.
A row is done when as many hypotheses have ended as it has beams; done rows are dropped as in `engine.generate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unembed.models.decoder.engine import DROP_SHARE, GPU_LOOK_EVERY, Generated, cache_like
from unembed.models.decoder.ret import RET, Cache
from unembed.models.decoder.sampling import restrict
from unembed.models.decoder.tokenizer import END, PAD
from unembed.schemas import DecodeOptions


@dataclass
class _Hypotheses:
    """The best `beams` of each of N rows, ended or cut off by the limit; the worst is replaced first."""

    ids: Tensor  # (N, W, T) int64
    log_probs: Tensor  # (N, W, T) float32
    lengths: Tensor  # (N, W) int64
    scores: Tensor  # (N, W) float32; -inf: still free

    @classmethod
    def empty(cls, rows: int, beams: int, limit: int, device: torch.device) -> _Hypotheses:
        return cls(
            torch.full((rows, beams, limit), PAD, dtype=torch.int64, device=device),
            torch.zeros((rows, beams, limit), device=device),
            torch.ones((rows, beams), dtype=torch.int64, device=device),
            torch.full((rows, beams), -torch.inf, device=device),
        )

    def offer(self, rows: Tensor, ids: Tensor, log_probs: Tensor, scores: Tensor) -> None:
        """One hypothesis for each of these rows (R,): ids and log_probs (R, T), scores (R,)."""
        worst_score, worst = self.scores[rows].min(dim=1)  # (R,), (R,)
        better = scores > worst_score
        rows, places = rows[better], worst[better]
        length = ids.shape[1]
        self.ids[rows, places] = PAD
        self.ids[rows, places, :length] = ids[better]
        self.log_probs[rows, places] = 0.0
        self.log_probs[rows, places, :length] = log_probs[better]
        self.lengths[rows, places] = length
        self.scores[rows, places] = scores[better]

    def sorted(self) -> Generated:
        order = self.scores.argsort(dim=1, descending=True, stable=True)  # (N, W)
        wide = order[:, :, None].expand_as(self.ids)
        longest = int(self.lengths.max()) if self.lengths.numel() else 0
        return Generated(
            self.ids.gather(1, wide).flatten(0, 1)[:, :longest],
            self.log_probs.gather(1, wide).flatten(0, 1)[:, :longest],
            self.lengths.gather(1, order).flatten(),
        )


@torch.no_grad()
def beam_search(network: RET, embeddings: Tensor, options: DecodeOptions, max_pieces: int) -> Generated:
    """The `options.width` likeliest texts of embeddings (N, E), as N·W rows: those of a row together, best first.

    Hypotheses are compared by log p / pieces ** length_penalty; log p is of the logits after penalties, while the
    log-probabilities returned are of the untouched ones, as `engine.generate` gives them. A width of 1 is greedy.
    """
    count, width, device = embeddings.shape[0], options.width, embeddings.device
    found = _Hypotheses.empty(count, width, max_pieces, device)
    reading = network.read(embeddings).repeat_interleave(width, dim=0)  # (R·W, C + G)
    cache = Cache.empty(network.config, count, max_pieces + 1, cache_like(reading), width)
    slots = torch.arange(width, device=device).expand(count, width)  # (R, W)
    line = slots[:, :, None]  # (R, W, t+1): the slots of a beam's forebears, and its own
    rows = torch.arange(count, device=device)  # (R,): those still in the batch, as places in the output
    ids = torch.empty((count * width, 0), dtype=torch.int64, device=device)  # (R·W, t)
    log_probs = torch.empty((count * width, 0), device=device)  # (R·W, t)
    sums = torch.full((count, width), -torch.inf, device=device)  # (R, W); all -inf: the row is done
    sums[:, 0] = 0.0  # the beams begin as copies: only the first may branch

    for position in range(max_pieces):
        if not len(rows):
            break
        descent = (line[..., None] == slots[0]).flatten(2)[:, None]  # (R, 1, W, (t+1)·W)
        last = ids[:, -1] if position else None
        logits = network.step(reading, last, cache, position, descent).float()  # (R·W, V)
        best, parents, pieces = _branches(sums, restrict(logits, ids, options).log_softmax(dim=-1))  # (R, 2W)
        at = parents + torch.arange(len(rows), device=device)[:, None] * width  # (R, 2W): beams in the batch
        picked = logits.log_softmax(dim=-1)[at, pieces]  # (R, 2W)

        length_factor = float(position + 1) ** options.length_penalty
        ending = pieces == END
        for rank in range(width):  # an end among the best W counts; further down it is a worse way to go on
            ended = ending[:, rank] & best[:, rank].isfinite()
            found.offer(
                rows[ended],
                torch.cat((ids[at[ended, rank]], pieces[ended, rank, None]), dim=1),
                torch.cat((log_probs[at[ended, rank]], picked[ended, rank, None]), dim=1),
                best[ended, rank] / length_factor,
            )
        ranks = torch.arange(best.shape[1], device=device)
        on = (ranks + ending * len(ranks)).argsort(dim=1)[:, :width]  # (R, W): the best that have not ended
        is_open = found.scores[rows].isneginf().any(dim=1)  # (R,)
        sums = best.gather(1, on).masked_fill(ending.gather(1, on) | ~is_open[:, None], -torch.inf)
        beams = at.gather(1, on).flatten()  # (R·W,)
        ids = torch.cat((ids[beams], pieces.gather(1, on).view(-1, 1)), dim=1)
        log_probs = torch.cat((log_probs[beams], picked.gather(1, on).view(-1, 1)), dim=1)
        line = torch.cat((line.flatten(0, 1)[beams].view(len(rows), width, -1), slots[:, :, None]), dim=2)

        if position + 1 == max_pieces:
            _cut_off(found, rows, ids, log_probs, sums / length_factor)
        elif device.type == "cpu" or position % GPU_LOOK_EVERY == GPU_LOOK_EVERY - 1:
            left = int(is_open.sum())
            if (len(rows) - left) * DROP_SHARE >= len(rows):
                kept = is_open.nonzero()[:, 0]  # (R',)
                beams = (kept[:, None] * width + slots[0]).flatten()  # (R'·W,)
                rows, sums, slots, line = rows[kept], sums[kept], slots[kept], line[kept]
                reading, ids, log_probs = reading[beams], ids[beams], log_probs[beams]
                cache = cache.keep(kept, position + 1)
    return found.sorted()


def _branches(sums: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best 2W ways to go on: their sums, their parents among the W beams and their pieces, each (R, 2W).

    From sums (R, W) and log-probabilities (R·W, V). No beam can give more than 2W of the best, so each is cut to that
    many first.
    """
    rows, width = sums.shape
    wanted = min(2 * width, allowed.shape[1])
    values, pieces = allowed.topk(wanted, dim=1)  # (R·W, 2W)
    totals = (sums[:, :, None] + values.view(rows, width, wanted)).flatten(1)  # (R, W·2W)
    best, places = totals.topk(wanted if width == 1 else 2 * width, dim=1)  # (R, 2W)
    return best, places // wanted, pieces.view(rows, -1).gather(1, places)


def _cut_off(found: _Hypotheses, rows: Tensor, ids: Tensor, log_probs: Tensor, scores: Tensor) -> None:
    """The limit is reached: what has not ended takes the places that are still free."""
    width = scores.shape[1]
    for rank in range(width):
        free = found.scores[rows].isneginf().any(dim=1) & scores[:, rank].isfinite()
        at = free.nonzero()[:, 0]
        found.offer(rows[at], ids[at * width + rank], log_probs[at * width + rank], scores[at, rank])
