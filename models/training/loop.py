"""The training loop: plain cross-entropy on pieces, with noise on the embedding and the embedding dropped now and then.

One run is a folder: tokenizer.json, state.safetensors (weights, average, optimiser), progress.jsonl. A
run that was stopped goes on from its last save and, at the same number of threads, ends where it would have ended:
the order of batches comes from (seed, epoch), the noise from (seed, step).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from unembed.errors import CheckpointError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.ret import RET
from unembed.models.training.data import Pairs, epoch_batches
from unembed.models.training.evened import Even, even_out, plain_weights
from unembed.models.training.loss import mean_loss, training_loss
from unembed.models.training.optimiser import (
    Average,
    adamw,
    descend,
    learning_rate,
    optimiser_tensors,
    restore_optimiser,
)
from unembed.models.training.patience import Anneal, Watch
from unembed.models.training.recipe import DevScore, Progress, Recipe

PLAIN_FROM: Final = 0.8  # of a run: from there on it sees the texts alone, not those made of them
PACED: Final = 6  # steps that show how fast a run is
PACED_SECONDS: Final = 5.0  # or fewer, after so long
REMEDY: Final = "use the same options, or another folder"


class Run:
    """A training run that can be stopped and taken up again."""

    def __init__(
        self,
        folder: Path,
        config: NetworkConfig,
        recipe: Recipe,
        device: str = "cpu",
        weights: Mapping[str, Tensor] | None = None,
        even: Even | None = None,
    ) -> None:
        """`weights` by name are what a new run begins with; those that are not among them are drawn. With `even`, what
        reads the embedding is learnt in these coordinates."""
        self.folder = folder
        self.recipe = recipe
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.network = RET(config).to(self.device)
        unknown = self.network.load_state_dict(weights or {}, strict=False).unexpected_keys
        assert not unknown, f"the network has no {unknown}"
        self._even = even.to(self.device) if even else None
        if self._even:
            even_out(self.network, self._even)
        self.average = Average(self.network, recipe.average_decay)
        self.optimiser = adamw(self.network, recipe.peak_learning_rate, recipe.weight_decay)
        self.step = 0
        self.seconds = 0.0
        self._begun = time.monotonic()  # of the time that is not in `seconds` yet
        self.finished = False
        self.watch = Watch()
        self.anneal: Anneal | None = None
        self.plain_from: int | None = None  # the step from which it sees the texts alone
        self._best: dict[str, Tensor] = {}  # the averaged weights at `watch.best_step`

    @property
    def state_path(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def progress_path(self) -> Path:
        return self.folder / "progress.jsonl"

    def save(self) -> None:
        tensors = {f"network.{name}": value.detach() for name, value in self.network.named_parameters()}
        tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        tensors |= {f"optimiser.{name}": t for name, t in optimiser_tensors(self.network, self.optimiser).items()}
        tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
        metadata = {
            "step": str(self.step),
            "seconds": str(self.seconds),
            "recipe": json.dumps(asdict(self.recipe)),
            "network": self.network.config.model_dump_json(),
            "even": json.dumps(self._even is not None),
            "watch": json.dumps(asdict(self.watch)),
            "anneal": json.dumps(asdict(self.anneal) if self.anneal else None),
            "plain_from": json.dumps(self.plain_from),
        }
        partial = self.state_path.with_suffix(".partial")
        save_file(tensors, partial, metadata=metadata)
        partial.replace(self.state_path)

    def resume(self) -> bool:
        """Takes up the folder's state, if there is one.

        Raises CheckpointError when its recipe or its network is another.
        """
        if not self.state_path.exists():
            return False
        with safe_open(self.state_path, framework="pt", device=str(self.device)) as file:
            metadata = file.metadata()
            theirs, ours = self.recipe.differences(json.loads(metadata["recipe"]))
            if theirs:
                raise CheckpointError(f"{self.folder} was started with the recipe {theirs}, not {ours}; {REMEDY}")
            begun = metadata.get("network")  # runs of earlier versions do not say
            shape = self.network.config.model_dump_json()
            if begun is not None and begun != shape:
                raise CheckpointError(f"{self.folder} was started with the network {begun}, not {shape}; {REMEDY}")
            if json.loads(metadata.get("even", "false")) != (self._even is not None):
                raise CheckpointError(
                    f"{self.folder} was started by a version that trains otherwise; use another folder"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        by_kind: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "best": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            by_kind[kind][rest] = tensor
        self.network.load_state_dict(by_kind["network"])
        self.average.weights = {name: by_kind["average"][name] for name in self.average.weights}
        restore_optimiser(self.network, self.optimiser, by_kind["optimiser"])
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.average.updates = self.step
        self._best = by_kind["best"]
        self.watch = Watch(**json.loads(metadata.get("watch", "{}")))  # neither do they watch the dev sets
        anneal = json.loads(metadata.get("anneal", "null"))
        self.anneal = Anneal(**anneal) if anneal else None
        self.plain_from = json.loads(metadata.get("plain_from", "null"))
        return True

    def averaged(self) -> RET:
        """A copy of the network with the averaged weights."""
        return self._copy(self.average.weights)

    def best(self) -> RET:
        """The averaged weights that were the best on the dev sets; without such sets, those of now."""
        return self._copy(self._best or self.average.weights)

    def _copy(self, weights: Mapping[str, Tensor]) -> RET:
        network = RET(self.network.config).to(self.device)
        network.load_state_dict(plain_weights(weights, self._even) if self._even else weights)
        return network.eval()

    def train(
        self,
        pairs: Pairs,
        dev: dict[str, Pairs],
        report: Callable[[Progress], None],
        report_every: int = 200,
        stop: Callable[[], bool] = lambda: False,
        scorer: Callable[[RET], dict[str, DevScore]] = lambda network: {},
        made: Pairs | None = None,
    ) -> Progress:
        """Trains to the end of the recipe, or until `stop` says so; saves at each report and at the end.

        `made` are pairs made of the others, which the last stretch (`PLAIN_FROM`) does not see; a pass is as long as
        the others are. `scorer` is asked at each report, with the averaged weights. With a patience, the end comes
        earlier when the mean loss on the dev sets no longer falls (`patience.py`).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        steps_per_epoch = count_batches(pairs, self.recipe.batch_pieces)
        steps = self.recipe.steps(steps_per_epoch)
        self._begun = time.monotonic()
        if last := self._last_line(steps):
            return last
        losses: list[Tensor] = []
        pieces = 0
        plain = len(pairs)
        pairs = pairs.with_more(made) if made else pairs
        for rows in self._batches(pairs.lengths, plain, steps):
            progress = self._progress(steps)
            losses.append(self._step(*pairs.batch(rows), progress))
            pieces += int(pairs.lengths[rows].sum())
            self.step += 1
            self.finished = self.step >= self._end(steps) or progress >= 1.0
            ending = self.finished or stop()
            if self.step % report_every == 0 or ending:
                seconds = time.monotonic() - self._begun
                self.seconds += seconds
                dev_loss = {name: self.dev_loss(some) for name, some in dev.items()}
                if dev and (self.finished or self.step % report_every == 0):  # a stop in between changes nothing
                    self._judge(float(np.mean(list(dev_loss.values()))), progress, steps)
                line = Progress(
                    step=self.step,
                    steps=self._end(steps),
                    epoch=self.step / steps_per_epoch,
                    loss=float(torch.stack(losses).mean()),
                    dev_loss=dev_loss,
                    pieces_per_second=pieces / seconds,
                    seconds=self.seconds,
                    learning_rate=self.optimiser.param_groups[0]["lr"],
                    best_step=self.watch.best_step,
                    annealing=self.anneal is not None,
                    minutes=self.recipe.minutes,
                    scores=scorer(self.averaged()),
                )
                self.save()
                with self.progress_path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(line)) + "\n")
                report(line)
                losses.clear()
                pieces, self._begun = 0, time.monotonic()
                if ending:
                    return line
        raise AssertionError("the last step reports")

    def pace(self, pairs: Pairs) -> float:
        """Pieces a second, from a few steps, which change the weights: the run is to be thrown away."""
        rows = list(islice(epoch_batches(pairs.lengths, self.recipe.batch_pieces, _generator(0, 0)), PACED + 1))
        pieces, seconds = 0, 0.0
        for place, some in enumerate(rows):
            begun = time.monotonic()
            float(self._step(*pairs.batch(some), 0.0))  # a number, hence at its end on a GPU too
            if place or len(rows) == 1:  # the first one takes longer
                pieces += int(pairs.lengths[some].sum())
                seconds += time.monotonic() - begun
            if seconds > PACED_SECONDS:
                break
        return pieces / max(seconds, 1e-6)

    def _end(self, steps: int) -> int:
        return self.anneal.end if self.anneal else steps

    def _progress(self, steps: int) -> float:
        """From 0 to 1, where the run ends: by its steps, its time or its patience, whichever is over first."""
        seconds = self.seconds + time.monotonic() - self._begun
        planned = self.recipe.progress(self.step, steps, seconds)
        return max(planned, self.anneal.progress_at(self.step)) if self.anneal else planned

    def _judge(self, loss: float, progress: float, steps: int) -> None:
        """Keeps the weights when they are the best so far, and begins the end when the patience is over."""
        self.watch = self.watch.seen(self.step, loss)
        if self.watch.best_step == self.step:
            self._best = {name: value.clone() for name, value in self.average.weights.items()}
        under_way = self.recipe.warmup_steps <= self.step and not self.finished and self.anneal is None
        if under_way and 0 < self.recipe.patience <= self.watch.waited:
            self.anneal = Anneal.at(self.step, progress, steps)

    def _last_line(self, steps: int) -> Progress | None:
        """The last line of a run that has ended already."""
        if not self.step or self._progress(steps) < 1.0:
            return None
        self.finished = True
        return self.lines()[-1]

    def lines(self) -> list[Progress]:
        """Every report so far, all sittings together."""
        return [Progress.read(line) for line in self.progress_path.read_text(encoding="utf-8").splitlines()]

    def _batches(self, lengths: np.ndarray, plain: int, steps: int) -> Iterator[np.ndarray]:
        """The batches from the current step on; the first `plain` rows are those that the last stretch sees."""
        seen = 0
        passes = {True: 0, False: 0}  # begun, with all rows and with the first ones
        while seen < steps:
            mixed = plain < len(lengths) and (self.plain_from is None or seen < self.plain_from)
            generator = _generator(self.recipe.seed, passes[mixed], *([1] if mixed else []))
            passes[mixed] += 1
            for rows in epoch_batches(lengths if mixed else lengths[:plain], self.recipe.batch_pieces, generator):
                if mixed and seen == self.step and self.plain_from is None and self._progress(steps) >= PLAIN_FROM:
                    self.plain_from = seen
                if mixed and seen == self.plain_from:
                    break
                if seen >= self.step:
                    yield rows
                seen += 1
                if seen >= steps:
                    return

    def _step(self, embeddings: Tensor, ids: Tensor, progress: float) -> Tensor:
        recipe = self.recipe
        embeddings, ids = embeddings.to(self.device), ids.to(self.device)  # (B, E), (B, T)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, progress, recipe.peak_learning_rate, recipe.warmup_steps)
        noisy = disturb(embeddings, recipe.noise, recipe.embedding_dropout, recipe.seed * 1_000_003 + self.step)
        loss = training_loss(self.network, noisy, ids)
        descend(self.network, self.optimiser, loss, recipe.clip_norm)
        self.average.update(self.network)
        return loss.detach()

    def dev_loss(self, pairs: Pairs) -> float:
        """Nats per piece of the averaged weights on the first pairs."""
        return mean_loss(self.averaged(), pairs)


def count_batches(pairs: Pairs, batch_pieces: int) -> int:
    """Steps of a pass over the pairs."""
    return sum(1 for _ in epoch_batches(pairs.lengths, batch_pieces, _generator(0, 0)))


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def disturb(embeddings: Tensor, noise: float, dropout: float, seed: int) -> Tensor:
    """Unit embeddings (B, E) with noise of a random length added, some rows replaced by zeros ("no embedding")."""
    generator = torch.Generator().manual_seed(seed)
    batch = embeddings.shape[0]
    unit = F.normalize(embeddings, dim=-1)
    direction = F.normalize(torch.randn(embeddings.shape, generator=generator).to(unit), dim=-1)  # (B, E)
    length = torch.rand(batch, 1, generator=generator).to(unit) * noise  # (B, 1)
    kept = (torch.rand(batch, 1, generator=generator) >= dropout).to(unit)  # (B, 1)
    return (unit + direction * length) * kept
