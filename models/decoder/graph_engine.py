"""The engine for a GPU: some steps at a time as a CUDA graph, over as many rows as a memory budget allows.

- A graph holds `STEPS` steps for a number of slots. After each graph the flags of ended rows are read, the only time
  that Python waits for the device; when half of the slots would do, the rows that are left move to the front.
- Most texts are short and a cache for the longest is mostly empty. Rows are therefore decoded with room for `SHORT`
  pieces first; those that did not end are decoded again with all the room that they may need.
- The first run of a graph is eager, and warms up what the second one captures.

Beams, and the likelihood of given pieces, go through the plain loops of `beam.py` and `engine.py`. Where graphs cannot
be captured, the same steps run eagerly, and `reason` says so: on a CPU, where its tests hold it to the plain loop.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from unembed.errors import first_line
from unembed.models.decoder.cuda_graphs import CudaGraphs
from unembed.models.decoder.engine import LIKELIHOOD_ROWS, Generated
from unembed.models.decoder.failures import is_broken_device
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.static_step import NOWHERE, Slots, StaticNetwork, bytes_a_piece, bytes_a_slot, compact
from unembed.models.decoder.tokenizer import PAD
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.device import Device
from unembed.schemas import DecodeOptions

GPU_MEMORY: Final = 200 * 1024**2  # bytes, unless another budget is named
STEPS: Final = 8  # in a graph
SHORT: Final = 32  # pieces: room for most texts
MOST_SLOTS: Final = 32_768  # attention kernels launch a block a head and row, of which CUDA takes 65,535
_SHORT_SHARE: Final = 0.75  # of the budget, where there are two rooms
_TRIAL_ROWS: Final = 8
_TRIAL_RUNS: Final = 3  # eager, captured, replayed
_TRIAL_DRIFT: Final = 0.05  # nats a piece


class GraphEngine:
    """Any network on one device, in one precision. Not thread-safe."""

    name = "graph"

    def __init__(self, network: RET, device: Device, memory: int = GPU_MEMORY) -> None:
        """`memory` is what rows and a step's products may take, in bytes; at least one row is always decoded."""
        self._network, self._on, self._memory = network, device, memory
        self._static = StaticNetwork(network, device.dtype)
        self._rooms: dict[int, Slots] = {}  # by positions
        self._graphs = CudaGraphs(device.torch_device)
        self._options = DecodeOptions()  # of the graphs
        self._plain = TorchEngine(network, device, "it is the reference")

    @property
    def reason(self) -> str:
        if self._graphs.obstacle:
            return f"its steps are launched one by one: {self._graphs.obstacle}"
        return "the device is a CUDA GPU; beams and given pieces go through the plain loops"

    @property
    def device(self) -> torch.device:
        return self._on.torch_device

    @property
    def max_pieces(self) -> int:
        """The longest text that the network was trained on, END counted."""
        return self._network.config.max_pieces

    def slots(self, max_pieces: int) -> int:
        """How many rows are decoded together at first."""
        return self._capacity(*self._lanes(max_pieces)[0])

    def _lanes(self, max_pieces: int) -> list[tuple[int, int]]:
        """Positions, and the memory for them: a short room first, where texts may be longer."""
        if max_pieces <= SHORT:
            return [(max_pieces, self._memory)]
        short = int(self._memory * _SHORT_SHARE)
        return [(SHORT, short), (max_pieces, self._memory - short)]

    def _capacity(self, positions: int, memory: int) -> int:
        return max(1, min(MOST_SLOTS, memory // bytes_a_slot(self._static, positions)))

    @torch.no_grad()
    def generate(self, embeddings: Tensor, sampler: Sampler, keys: Tensor, max_pieces: int) -> Generated:
        """As `engine.generate`."""
        count = len(embeddings)
        found = Generated(
            torch.full((count, max_pieces), PAD, dtype=torch.int64, device=self.device),
            torch.zeros((count, max_pieces), device=self.device),
            torch.full((count,), max_pieces, dtype=torch.int64, device=self.device),
        )
        self._take(sampler.options)
        left = torch.arange(count, device=self.device)  # (L,): the rows that have not ended
        for positions, memory in self._lanes(max_pieces):
            if not len(left):
                break
            capacity = self._capacity(positions, memory)
            room = self._room(positions, min(capacity, _power_of_two(len(left))))
            left = torch.cat(
                [
                    self._decode(room, embeddings[part], part, keys[part], sampler, found)
                    for part in torch.split(left, capacity)
                ]
            )
        longest = int(found.lengths.max()) if count else 0
        return Generated(found.ids[:, :longest], found.log_probs[:, :longest], found.lengths)

    def _take(self, options: DecodeOptions) -> None:
        """What is chosen by other options is another graph."""
        if options != self._options:
            self._graphs.forget()
            self._options = options

    def _room(self, positions: int, count: int) -> Slots:
        """Buffers of at least `count` slots; larger ones take the place of smaller ones, and of their graphs."""
        room = self._rooms.get(positions)
        if room is None or room.count < count:
            self._graphs.forget()
            self._rooms.pop(positions, None)
            room = self._rooms[positions] = self._static.empty(count, positions)
        return room

    def _decode(
        self, room: Slots, embeddings: Tensor, places: Tensor, draws: Tensor, sampler: Sampler, found: Generated
    ) -> Tensor:
        """Decodes some rows into `found`; the places of those that did not end in this room (L,)."""
        slots = room.first(_size(room, len(embeddings)))
        with self._on.autocast():
            reading = self._network.read(embeddings)  # (N, C + G)
        self._static.fill(slots, reading, places, draws)
        for begin in range(0, room.positions, STEPS):
            self._advance(slots, sampler, begin, min(begin + STEPS, room.positions))
            left = int(slots.alive.sum())
            if left == 0:
                break
            if (size := _size(room, left)) < slots.count:
                _write(slots, ~slots.alive, found)
                compact(slots, slots.alive.nonzero()[:, 0])
                slots = room.first(size)
        _write(slots, torch.ones_like(slots.alive), found)
        return slots.place[slots.alive]

    def _advance(self, slots: Slots, sampler: Sampler, begin: int, end: int) -> None:
        def steps() -> None:
            for position in range(begin, end):
                self._static.step(slots, sampler, position)

        self._graphs.run((slots.positions, slots.count, begin), steps)

    def beams(self, embeddings: Tensor, options: DecodeOptions, max_pieces: int) -> Generated:
        """As `beam.beam_search`, which it is."""
        return self._plain.beams(embeddings, options, max_pieces)

    @torch.no_grad()
    def piece_log_probs(self, embeddings: Tensor | None, generated: Generated, owners: Tensor | None = None) -> Tensor:
        """As `engine.piece_log_probs`, more texts at a time; None: none of them has an embedding."""
        each = bytes_a_piece(self._network.config) * max(1, generated.ids.shape[1])
        at_once = max(LIKELIHOOD_ROWS, self._memory // each)
        return self._plain.piece_log_probs(embeddings, generated, owners, at_once)


def tried(network: RET, device: Device, memory: int = GPU_MEMORY) -> tuple[GraphEngine | None, str]:
    """The engine, after a trial on this device, and why; None when the plain loop has to serve.

    In the trial it decodes some vectors until its graphs are replayed, and the plain network is asked how likely the
    texts are. Whatever is wrong with a driver, or with this engine on a GPU that nobody tried it on, is seen there.
    """
    drawn = torch.Generator().manual_seed(0)
    vectors = torch.randn(_TRIAL_ROWS, network.config.embedding_dim, generator=drawn).to(device.torch_device)
    sampler, keys = Sampler(DecodeOptions(), 0), torch.zeros(_TRIAL_ROWS, dtype=torch.int64, device=vectors.device)
    try:
        engine = GraphEngine(network, device, memory)
        found = [engine.generate(vectors, sampler, keys, engine.max_pieces) for _ in range(_TRIAL_RUNS)][-1]
        exact = engine.piece_log_probs(vectors, found)
    except RuntimeError as error:
        if is_broken_device(error):
            raise
        return None, f"the graph engine fails on this device: {first_line(error)}"
    drift = float((found.log_probs - exact).abs().sum() / found.lengths.sum())
    if not drift <= _TRIAL_DRIFT:  # NaN is no pass either
        return None, (
            f"the graph engine's texts are {drift:.3f} nats a piece from as likely as it says; "
            f"expected at most {_TRIAL_DRIFT}"
        )
    return engine, engine.reason


def _size(room: Slots, count: int) -> int:
    """How many slots are computed for so many rows: a power of two, or all, so that there are few graphs."""
    return min(room.count, _power_of_two(count))


def _power_of_two(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def _write(slots: Slots, which: Tensor, found: Generated) -> None:
    """Puts those of the slots `which` (B,) that hold a row into the output."""
    at = (which & (slots.place != NOWHERE)).nonzero()[:, 0]  # (K,)
    places = slots.place[at]
    found.ids[places, : slots.positions] = slots.ids[at]
    found.log_probs[places, : slots.positions] = slots.log_probs[at]
    found.lengths[places] = slots.ended_at[at]
