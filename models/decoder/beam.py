"""Beam search: the likeliest texts of each row, by the decoder's own probabilities. It knows nothing of text.

A row's beams are neighbours in the batch, and rows never see one another: what a row gets does not depend on the batch.
A row is done when as many hypotheses have ended as it has beams; its place in the batch is then given up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.decoder.engine import Generated, cache_like
from models.decoder.ret import RET, Cache
from models.decoder.sampling import restrict
from models.decoder.tokenizer import END, PAD
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
    """The `options.beams` likeliest texts of embeddings (N, E), as N·W rows: those of a row together, best first.

    Hypotheses are compared by log p / pieces ** length_penalty; log p is of the logits after penalties, while the
    log-probabilities returned are of the untouched ones, as `engine.generate` gives them. A width of 1 is greedy.
    """
    count, width, device = embeddings.shape[0], options.beams, embeddings.device
    found = _Hypotheses.empty(count, width, max_pieces, device)
    context = network.bridge_embedding(embeddings).repeat_interleave(width, dim=0)  # (R·W, C)
    cache = Cache.empty(network.config, count * width, max_pieces + 1, cache_like(context))
    rows = torch.arange(count, device=device)  # (R,): those not yet done, as places in the output
    ids = torch.empty((count * width, 0), dtype=torch.int64, device=device)  # (R·W, t)
    log_probs = torch.empty((count * width, 0), device=device)  # (R·W, t)
    sums = torch.full((count, width), -torch.inf, device=device)  # (R, W)
    sums[:, 0] = 0.0  # the beams begin as copies: only the first may branch

    for position in range(max_pieces):
        if not len(rows):
            break
        logits = network.step(context, ids[:, -1] if position else None, cache, position).float()  # (R·W, V)
        plain = logits.log_softmax(dim=-1)  # (R·W, V)
        allowed = restrict(logits, ids, options).log_softmax(dim=-1)  # (R·W, V)
        vocab = logits.shape[1]
        totals = (sums[:, :, None] + allowed.view(len(rows), width, vocab)).flatten(1)  # (R, W·V)
        best, places = totals.topk(min(2 * width, totals.shape[1]), dim=1)  # (R, 2W)
        offsets = torch.arange(len(rows), device=device)[:, None] * width  # (R, 1)
        parents, pieces = offsets + places // vocab, places % vocab  # (R, 2W): beams in the batch; pieces
        picked = plain[parents, pieces]  # (R, 2W)

        length_factor = float(position + 1) ** options.length_penalty
        ending = pieces == END
        for rank in range(width):  # an end among the best W counts; further down it is a worse way to go on
            ended = ending[:, rank] & best[:, rank].isfinite()
            at = parents[ended, rank]
            found.offer(
                rows[ended],
                torch.cat((ids[at], pieces[ended, rank, None]), dim=1),
                torch.cat((log_probs[at], picked[ended, rank, None]), dim=1),
                best[ended, rank] / length_factor,
            )
        order = (ending.to(torch.int64) * 2 * width + torch.arange(best.shape[1], device=device)).argsort(dim=1)
        going_on = order[:, :width]  # (R, W): the best that have not ended
        sums = best.gather(1, going_on).masked_fill(ending.gather(1, going_on), -torch.inf)
        at = parents.gather(1, going_on).flatten()  # (R·W,)
        ids = torch.cat((ids[at], pieces.gather(1, going_on).view(-1, 1)), dim=1)
        log_probs = torch.cat((log_probs[at], picked.gather(1, going_on).view(-1, 1)), dim=1)

        open_rows = found.scores[rows].isneginf().any(dim=1)  # (R,)
        if position + 1 == max_pieces:
            _cut_off(found, rows, open_rows, ids, log_probs, sums / length_factor)
            break
        kept = open_rows.nonzero()[:, 0]  # (R',)
        beams = (kept[:, None] * width + torch.arange(width, device=device)).flatten()  # (R'·W,)
        rows, sums, context = rows[kept], sums[kept], context[beams]
        ids, log_probs = ids[beams], log_probs[beams]
        cache = cache.keep(at[beams], position + 1)
    return found.sorted()


def _cut_off(
    found: _Hypotheses, rows: Tensor, open_rows: Tensor, ids: Tensor, log_probs: Tensor, scores: Tensor
) -> None:
    """The limit is reached: what has not ended takes the places that are still free."""
    width = scores.shape[1]
    for rank in range(width):
        free = open_rows & found.scores[rows].isneginf().any(dim=1) & scores[:, rank].isfinite()
        at = free.nonzero()[:, 0]
        found.offer(rows[at], ids[at * width + rank], log_probs[at * width + rank], scores[at, rank])
