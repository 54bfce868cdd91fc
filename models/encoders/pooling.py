"""One vector of a text's token states (B, L, C), which are all real: texts of a batch have equally many."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def mean(states: Tensor) -> Tensor:
    """Unit vectors (B, C) in the direction of the mean."""
    return F.normalize(states.mean(dim=1), dim=1)


def mean_max(states: Tensor) -> Tensor:
    """The mean and the maximum, a dimension at a time, side by side: what the maximum keeps of single words is lost in
    the mean.

    Each is scaled to unit length; the vector (B, 2 C) is both, one after the other, over √2.
    """
    most = F.normalize(states.amax(dim=1), dim=1)  # (B, C)
    return torch.cat((mean(states), most), dim=1) / math.sqrt(2.0)
