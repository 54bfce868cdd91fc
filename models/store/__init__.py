"""Every SQL statement there is. `Store` is the whole of it; each method is one short transaction."""

from __future__ import annotations

from models.store.values import Beat, Claim, QueueStats, Swept, Worker

__all__ = ["Beat", "Claim", "QueueStats", "Swept", "Worker"]
