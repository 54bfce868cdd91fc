"""AdamW with a warm-up and a cosine, an average of the weights, and a state that can be saved without pickle."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

WARM_UP: Final = 0.1  # of the run at most


def learning_rate(step: int, progress: float, peak: float, warmup: int) -> float:
    """Linear up over `warmup` steps, or a tenth of the run where that is less; then half a cosine in progress (0 to 1),
    down to 2 % of the peak."""
    risen = max((step + 1) / max(1, warmup), progress / WARM_UP)
    if risen < 1.0:
        return peak * risen
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


def adamw(network: nn.Module, peak: float, weight_decay: float) -> torch.optim.AdamW:
    """Decay on matrices alone: decaying a norm's gain pulls it to zero, not to its neutral one."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, clip_norm: float) -> None:
    """One step down the loss, with the gradient's norm cut to `clip_norm`."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimiser.step()


class Average:
    """An exponential moving average of a network's weights; the decay grows from short to `decay`."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours = list(self.weights.values())
        theirs = [parameter.detach() for parameter in network.parameters()]
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)


def optimiser_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `parameter.state`."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`."""
    for name, parameter in network.named_parameters():
        optimiser.state[parameter] = {key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
