"""Mean and max pooling side by side: what the maximum keeps of single words is lost in the mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MeanMax(nn.Module):
    """The last module of a SentenceTransformer: token states of width D to one unit vector of 2 D.

    The mean and the maximum, a dimension at a time, each over the real tokens, the special ones included, and each
    scaled to unit length; the vector is both, one after the other, over √2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def get_embedding_dimension(self) -> int:
        return 2 * self.width

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds `sentence_embedding` (N, 2 D) to features with `token_embeddings` (N, T, D), `attention_mask` (N, T)."""
        states = features["token_embeddings"]  # (N, T, D)
        real = features["attention_mask"][..., None].bool()  # (N, T, 1)
        mean = states.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)  # (N, D)
        most = states.masked_fill(~real, -torch.inf).amax(dim=1)  # (N, D)
        halves = (F.normalize(mean, dim=1), F.normalize(most, dim=1))
        features["sentence_embedding"] = torch.cat(halves, dim=1) / math.sqrt(2.0)  # (N, 2 D)
        return features
