"""The training loop: plain cross-entropy on pieces, with noise on the embedding and the embedding dropped now and then.

One run is a folder: tokenizer.json, state.safetensors (weights, average, optimiser), progress.jsonl. A
run that was stopped goes on from its last save and, at the same number of threads, ends where it would have ended:
the order of batches comes from (seed, epoch), the noise from (seed, step).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.decoder.config import NetworkConfig
from models.decoder.ret import RET
from models.decoder.tokenizer import PAD
from models.decoder.training.data import Pairs, epoch_batches
from models.decoder.training.optimiser import Average, adamw, learning_rate, optimiser_tensors, restore_optimiser
from unembed.errors import CheckpointError


@dataclass(frozen=True)
class Recipe:
    """How a decoder is trained; saved with the run and written on the model card."""

    epochs: float = 20.0  # passes over the data
    minutes: float | None = None  # of training; the schedule ends with whichever of the two runs out first
    batch_pieces: int = 6144
    peak_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    noise: float = 0.1  # length of the noise added to a unit embedding, drawn uniformly from 0 to this
    embedding_dropout: float = 0.05  # share of rows that see no embedding: they train the plain language model
    average_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0

    def steps(self, steps_per_epoch: int) -> int:
        return max(1, round(self.epochs * steps_per_epoch))

    def progress(self, step: int, steps: int, seconds: float) -> float:
        """From 0 to 1, where the run ends."""
        return max(step / steps, seconds / (60.0 * self.minutes) if self.minutes else 0.0)


@dataclass(frozen=True)
class Progress:
    """One line of progress.jsonl."""

    step: int
    steps: int
    epoch: float
    loss: float  # nats per piece, averaged since the last line
    dev_loss: dict[str, float]  # of the averaged weights, by dev set
    pieces_per_second: float
    seconds: float  # of training, all sittings together


class Run:
    """A training run that can be stopped and taken up again."""

    def __init__(self, folder: Path, config: NetworkConfig, recipe: Recipe, device: str = "cpu") -> None:
        self.folder = folder
        self.recipe = recipe
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.network = RET(config).to(self.device)
        self.average = Average(self.network, recipe.average_decay)
        self.optimiser = adamw(self.network, recipe.peak_learning_rate, recipe.weight_decay)
        self.step = 0
        self.seconds = 0.0
        self.finished = False

    @property
    def state_path(self) -> Path:
        return self.folder / "state.safetensors"

    def save(self) -> None:
        tensors = {f"network.{name}": value.detach() for name, value in self.network.named_parameters()}
        tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        tensors |= {f"optimiser.{name}": t for name, t in optimiser_tensors(self.network, self.optimiser).items()}
        tensors = {name: value.contiguous().cpu() for name, value in tensors.items()}
        metadata = {
            "step": str(self.step),
            "seconds": str(self.seconds),
            "recipe": json.dumps(asdict(self.recipe)),
            "network": self.network.config.model_dump_json(),
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
            saved = json.loads(metadata["recipe"])
            if saved != asdict(self.recipe):
                raise CheckpointError(f"{self.folder} was begun with the recipe {saved}, not {asdict(self.recipe)}")
            begun = metadata.get("network")  # runs of earlier versions do not say
            ours = self.network.config.model_dump_json()
            if begun is not None and begun != ours:
                raise CheckpointError(f"{self.folder} was begun with the network {begun}, not {ours}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        by_kind: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            by_kind[kind][rest] = tensor
        self.network.load_state_dict(by_kind["network"])
        self.average.weights = {name: by_kind["average"][name] for name in self.average.weights}
        restore_optimiser(self.network, self.optimiser, by_kind["optimiser"])
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.average.updates = self.step
        return True

    def averaged(self) -> RET:
        """A copy of the network with the averaged weights."""
        network = RET(self.network.config).to(self.device)
        network.load_state_dict(self.average.weights)
        return network.eval()

    def train(
        self,
        pairs: Pairs,
        dev: dict[str, Pairs],
        report: Callable[[Progress], None],
        report_every: int = 200,
        stop: Callable[[], bool] = lambda: False,
    ) -> Progress:
        """Trains to the end of the recipe, or until `stop` says so; saves at each report and at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        steps_per_epoch = sum(1 for _ in epoch_batches(pairs.lengths, self.recipe.batch_pieces, _generator(0, 0)))
        steps = self.recipe.steps(steps_per_epoch)
        if last := self._last_line(steps):
            return last
        losses: list[Tensor] = []
        pieces, begun = 0, time.monotonic()
        for rows in self._batches(pairs, steps_per_epoch, steps):
            progress = self.recipe.progress(self.step, steps, self.seconds + time.monotonic() - begun)
            losses.append(self._step(*pairs.batch(rows), progress))
            pieces += int(pairs.lengths[rows].sum())
            self.step += 1
            self.finished = self.step == steps or progress >= 1.0
            ending = self.finished or stop()
            if self.step % report_every == 0 or ending:
                seconds = time.monotonic() - begun
                self.seconds += seconds
                dev_loss = {name: self.dev_loss(some) for name, some in dev.items()}
                loss = float(torch.stack(losses).mean())
                epoch = self.step / steps_per_epoch
                line = Progress(self.step, steps, epoch, loss, dev_loss, pieces / seconds, self.seconds)
                self.save()
                with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(line)) + "\n")
                report(line)
                losses.clear()
                pieces, begun = 0, time.monotonic()
                if ending:
                    return line
        raise AssertionError("the last step reports")

    def _last_line(self, steps: int) -> Progress | None:
        """The last line of a run that has ended already."""
        if not self.step or self.recipe.progress(self.step, steps, self.seconds) < 1.0:
            return None
        self.finished = True
        return Progress(**json.loads((self.folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()[-1]))

    def _batches(self, pairs: Pairs, steps_per_epoch: int, steps: int) -> Iterator[np.ndarray]:
        """The batches from the current step on."""
        seen = 0
        epoch = 0
        while seen < steps:
            for rows in epoch_batches(pairs.lengths, self.recipe.batch_pieces, _generator(self.recipe.seed, epoch)):
                if seen >= self.step:
                    yield rows
                seen += 1
                if seen >= steps:
                    return
            epoch += 1

    def _step(self, embeddings: Tensor, ids: Tensor, progress: float) -> Tensor:
        recipe = self.recipe
        embeddings, ids = embeddings.to(self.device), ids.to(self.device)  # (B, E), (B, T)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, progress, recipe.peak_learning_rate, recipe.warmup_steps)
        noisy = disturb(embeddings, recipe.noise, recipe.embedding_dropout, recipe.seed * 1_000_003 + self.step)
        loss = piece_loss(self.network, noisy, ids)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        self.optimiser.step()
        self.average.update(self.network)
        return loss.detach()

    @torch.inference_mode()
    def dev_loss(self, pairs: Pairs, rows: int = 1024) -> float:
        """Nats per piece of the averaged weights on the first `rows` pairs."""
        network = self.averaged()
        total, count = 0.0, 0
        order = np.argsort(pairs.lengths[:rows], kind="stable")
        for begin in range(0, len(order), 256):
            embeddings, ids = pairs.batch(order[begin : begin + 256])
            pieces = int((ids != PAD).sum())
            total += float(piece_loss(network, embeddings.to(self.device), ids.to(self.device))) * pieces
            count += pieces
        return total / count


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch])


def disturb(embeddings: Tensor, noise: float, dropout: float, seed: int) -> Tensor:
    """Unit embeddings (B, E) with noise of a random length added, some rows replaced by zeros ("no embedding")."""
    generator = torch.Generator().manual_seed(seed)
    batch = embeddings.shape[0]
    unit = F.normalize(embeddings, dim=-1)
    direction = F.normalize(torch.randn(embeddings.shape, generator=generator).to(unit), dim=-1)  # (B, E)
    length = torch.rand(batch, 1, generator=generator).to(unit) * noise  # (B, 1)
    kept = (torch.rand(batch, 1, generator=generator) >= dropout).to(unit)  # (B, 1)
    return (unit + direction * length) * kept


def piece_loss(network: RET, embeddings: Tensor, ids: Tensor) -> Tensor:
    """Mean cross-entropy per piece in nats; ids (B, T) end with END and are padded with PAD, which does not count."""
    use_bf16 = embeddings.is_cuda
    with torch.autocast(embeddings.device.type, dtype=torch.bfloat16, enabled=use_bf16):
        logits = network(embeddings, ids[:, :-1])  # (B, T, V)
    return F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), ignore_index=PAD)
