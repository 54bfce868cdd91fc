"""What the dev sets say of a run: which weights are the best so far, and when more of the same brings nothing.

A run does not stop dead when its patience is over: its learning rate would still be high, and the last stretch, in
which it falls, is where a network gains the most. Instead the rest of the schedule is run through in a fifth of the
steps so far, from the learning rate that there is: no jump, and the end is as low as any run's. A fifth, because the
average looks back on about a ninth of the steps so far: after twice that it knows little of the time before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

LEAST_GAIN: Final = 0.001  # nats a piece; the average falls by less than this for ever, which is no reason to go on
ANNEAL: Final = 0.2  # of the steps so far


@dataclass(frozen=True)
class Watch:
    """The mean dev loss, report by report."""

    best: float = math.inf  # the lowest so far
    best_step: int = 0
    mark: float = math.inf  # the loss at the last gain
    waited: int = 0  # reports since then

    def seen(self, step: int, loss: float) -> Watch:
        """After a report."""
        watch = self
        if loss < self.best:
            watch = replace(watch, best=loss, best_step=step)
        if loss <= self.mark - LEAST_GAIN:
            return replace(watch, mark=loss, waited=0)
        return replace(watch, waited=self.waited + 1)


@dataclass(frozen=True)
class Anneal:
    """The short way to the end of the schedule."""

    step: int  # where it begins
    progress: float  # of the schedule there
    end: int  # so many steps the run then has

    @classmethod
    def at(cls, step: int, progress: float, steps: int) -> Anneal:
        """From here on; never beyond the end of the run."""
        return cls(step, progress, min(steps, step + math.ceil(ANNEAL * step)))

    def progress_at(self, step: int) -> float:
        """From `progress` to 1."""
        if step >= self.end:
            return 1.0
        return self.progress + (1.0 - self.progress) * (step - self.step) / (self.end - self.step)
