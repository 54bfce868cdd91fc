"""Work that is launched again and again, as CUDA graphs: the first time as it is, then captured, then replayed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Final

import torch

from unembed.errors import first_line
from unembed.models.decoder.failures import is_out_of_memory

log = logging.getLogger(__name__)

NO_GPU: Final = "the device is not a CUDA GPU"


class CudaGraphs:
    """Graphs by key. Where they cannot be captured, the work runs as it is, and `obstacle` says why."""

    def __init__(self, device: torch.device) -> None:
        self.obstacle = None if device.type == "cuda" else NO_GPU
        self._warm: set[Hashable] = set()
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        # What the graphs use between their first and last step; they run one after the other, so it is shared.
        self._pool: Any = None  # the type has no public name

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Does `work`, which has to launch the same on the same memory every time it comes with this key."""
        if self.obstacle is None and key in self._warm and key not in self._graphs:
            self._capture(key, work)
        if graph := self._graphs.get(key):
            graph.replay()
            return
        work()
        self._warm.add(key)

    def _capture(self, key: Hashable, work: Callable[[], None]) -> None:
        """Launches nothing: what is captured runs when it is replayed."""
        try:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.forget()
            self.obstacle = f"CUDA does not capture graphs here: {first_line(error)}"
            log.warning("%s; the steps are launched one by one", self.obstacle)
        else:
            self._graphs[key] = graph

    def forget(self) -> None:
        """The memory that the work is on goes away, or the work becomes another."""
        self._graphs.clear()
        self._warm.clear()
        self._pool = None  # CUDA takes no graph into a pool whose graphs are all gone
