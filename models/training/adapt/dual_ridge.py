"""Ridge regression by how alike texts are, rather than by what each of them is like: N by N, whatever the features."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

MOST_PAIRS: Final = 5000  # the kernel is as large as their square


class Solved(NamedTuple):
    solution: Tensor  # (N, K): an estimate is the sum of these, each as much as its text is like the new one
    errors: Tensor  # (N, K): what is left of each text where it was fitted without it


def solved(kernel: Tensor, wanted: Tensor, ridge: Tensor) -> Solved:
    """Of N texts, how alike they are (N, N), what they are to give (N, K), and a ridge for each (N,); all float64."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel + ridge.diag()))
    solution = inverse @ wanted
    return Solved(solution, solution / inverse.diagonal()[:, None])


def best_ridge(kernel: Tensor, wanted: Tensor, ridges: tuple[float, ...], each: Tensor, judged: int) -> float:
    """The share of `each` (N,) by which the first `judged` texts, each left out in turn, are estimated best."""
    kernel, wanted, each = kernel[:judged, :judged], wanted[:judged], each[:judged]
    return min(ridges, key=lambda one: float((solved(kernel, wanted, one * each).errors / each.sqrt()[:, None]).norm()))
