"""Whether the worker of this host lives: `python -m worker.alive` ends with 0 or 1. For a container's health check.

It reads what the worker wrote into the database with its last sweep or heartbeat, since a process can answer a ping and
take no batch all the same.
"""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from models.database import create_engine
from models.settings import Settings
from models.store import Store
from unembed.errors import UnembedError

SILENCE: Final = 6  # sweeps missed in a row


def is_alive(store: Store, host: str) -> bool:
    """Whether a worker of this host was seen of late. Raises StoreUnavailableError."""
    settings = store.settings
    since = datetime.now(UTC) - SILENCE * timedelta(seconds=max(settings.sweep_interval, settings.heartbeat))
    return any(worker.host == host and worker.last_seen > since for worker in store.workers())


def main() -> int:
    settings = Settings()
    engine = create_engine(settings.database_url)
    try:
        return 0 if is_alive(Store(engine, settings), socket.gethostname()) else 1
    except UnembedError as error:
        print(error.message, file=sys.stderr)
        return 1
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
