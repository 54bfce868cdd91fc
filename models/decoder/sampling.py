"""Which piece comes next: greedy, temperature, top-k, top-p, min-p, repetition penalty, no repeated n-grams.

Randomness is a function of (seed, row, candidate, position), never a shared stream: a row draws the same pieces
whatever batch it is decoded in, on whichever worker, however often. Sampling is Gumbel-max: argmax(logits / temperature
+ noise), and the noise comes from hashing the coordinates (SplitMix64's finaliser: Steele et al., "Fast splittable
pseudorandom number generators", 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unembed.models.decoder.tokenizer import PAD
from unembed.schemas import DecodeOptions

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


@dataclass(frozen=True)
class Sampler:
    """Chooses one piece a row; stateless."""

    options: DecodeOptions
    seed: int

    def keys(self, rows: Tensor, candidates: Tensor | None = None) -> Tensor:
        """What the draws of each row (N,) hang on: its index in the corpus, and which of its candidates it is (N,).

        Candidate 0 draws what the row draws when there are no others.
        """
        keys = _mix(rows.to(torch.int64) * _GOLDEN + _signed(self.seed))  # (N,)
        if candidates is None:
            return keys
        return torch.where(candidates > 0, _mix(keys + candidates * _MIX_1), keys)

    def choose(self, logits: Tensor, history: Tensor, keys: Tensor, position: int) -> Tensor:
        """Piece ids (B,) from float logits (B, V), pieces so far (B, T) and the rows' keys (B,)."""
        options = self.options
        logits = restrict(logits, history, options)
        if options.temperature == 0.0:
            return logits.argmax(dim=-1)
        logits = logits / options.temperature
        if 0 < options.top_k < logits.shape[-1]:
            logits = keep_top_k(logits, options.top_k)
        if options.top_p < 1.0:
            logits = keep_top_p(logits, options.top_p)
        if options.min_p > 0.0:
            logits = keep_min_p(logits, options.min_p)
        return (logits + gumbel(keys, position, logits.shape[-1])).argmax(dim=-1)


def restrict(logits: Tensor, history: Tensor, options: DecodeOptions) -> Tensor:
    """Logits (B, V) after what the pieces so far (B, T) forbid or make less likely; padding is not a piece."""
    logits = logits.clone()
    logits[:, PAD] = -torch.inf
    if options.repetition_penalty > 1.0 and history.shape[1]:
        logits = penalise(logits, history, options.repetition_penalty)
    if options.no_repeat_ngram and history.shape[1] >= options.no_repeat_ngram:
        logits = forbid_repeats(logits, history, options.no_repeat_ngram)
    return logits


def penalise(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Divide positive, multiply negative logits of pieces already used (CTRL: Keskar et al. 2019, section 4.1)."""
    used = logits.gather(1, history)  # (B, T)
    return logits.scatter(1, history, torch.where(used > 0, used / penalty, used * penalty))


def forbid_repeats(logits: Tensor, history: Tensor, size: int) -> Tensor:
    """Rule out each piece that would complete an n-gram of `size` pieces that the row has already."""
    tail = history[:, history.shape[1] - size + 1 :]  # (B, size-1)
    grams = history.unfold(1, size, 1)  # (B, T-size+1, size)
    repeated = (grams[:, :, :-1] == tail[:, None]).all(dim=-1)  # (B, T-size+1)
    banned = torch.zeros_like(logits).scatter_add(1, grams[:, :, -1], repeated.to(logits.dtype))  # (B, V)
    return logits.masked_fill(banned > 0, -torch.inf)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    floor = logits.topk(k, dim=-1).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < floor, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The smallest set of pieces whose probabilities reach p (Holtzman et al. 2020); at least one stays."""
    ordered, places = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)  # mass of the likelier ones
    ordered = ordered.masked_fill(before >= p, -torch.inf)
    return torch.empty_like(logits).scatter(1, places, ordered)


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """Pieces at least `share` times as likely as the likeliest (Nguyen et al. 2024, "min-p sampling")."""
    floor = logits.max(dim=-1, keepdim=True).values + math.log(share)  # (B, 1)
    return logits.masked_fill(logits < floor, -torch.inf)


def gumbel(keys: Tensor, position: int, vocab: int) -> Tensor:
    """Standard Gumbel noise (B, V), a pure function of its arguments."""
    state = _mix(keys + _signed(position * _GOLDEN))  # (B,)
    pieces = torch.arange(1, vocab + 1, device=keys.device, dtype=torch.int64)  # (V,)
    bits = _mix(state[:, None] + pieces * _GOLDEN)  # (B, V)
    uniform = (_shift(bits, 40) & 0xFFFFFF).to(torch.float32).add_(0.5).div_(2**24)  # (0, 1)
    return -torch.log(-torch.log(uniform))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift right of signed 64-bit integers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The lowest 64 bits, read as a signed integer."""
    return (number + 2**63) % 2**64 - 2**63
