"""Whether this host's worker is alive: `python -m unembed.worker.liveness` exits with 0 or 1. For a health check.

It reads what the worker wrote into the database, not whether its process answers: one that lost its connection to Redis
in an unlucky moment may answer every ping and take no batch any more. So a worker lives if it was seen of late, and if
no batch waits for long that it could have taken. A worker asks the same of itself, and ends when it is deaf.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from unembed.boundary import as_unembed_error, show_traceback
from unembed.models.database import open_engine
from unembed.models.settings import read_settings
from unembed.models.store import Store

SILENCE: Final = 6  # sweeps missed in a row
# Seconds for which a worker may take nothing while batches wait. Longer than a child takes to start, and than messages
# that were lost stay so.
PATIENCE: Final = 300.0
REPUBLISHED: Final = 5  # times that lost messages may have been sent again before it is the worker's fault


def is_alive(store: Store, host: str) -> bool:
    """Whether a worker of this host was seen of late, and takes what there is. Raises StoreUnavailableError."""
    settings = store.settings
    seen = store.workers.recently_seen(host, SILENCE * max(settings.sweep_interval, settings.heartbeat))
    return any(not is_deaf(store, name) for name in seen)


def is_deaf(store: Store, name: str) -> bool:
    """Whether a worker takes nothing although batches wait. Raises StoreUnavailableError."""
    return store.workers.is_deaf(name, max(PATIENCE, REPUBLISHED * store.settings.republish_after))


def main() -> int:
    try:
        settings = read_settings()
        with open_engine(settings.database_url) as engine:
            return 0 if is_alive(Store(engine, settings), socket.gethostname()) else 1
    except Exception as error:  # a health check knows two answers only
        show_traceback(error)
        print(as_unembed_error(error).message, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
