"""Whether the worker of this host lives: `python -m worker.alive` ends with 0 or 1. For a container's health check.

It reads what the worker wrote into the database, not whether its process answers: one that lost its connection to Redis
in an unlucky moment may answer every ping and take no batch any more. So a worker lives if it was seen of late, and if
no batch waits for long that it could have taken.
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
# Lost messages are sent again within `republish_after`; whoever takes none for so many times as long is deaf.
DEAF_AFTER: Final = 5


def is_alive(store: Store, host: str) -> bool:
    """Whether a worker of this host was seen of late, and takes what there is. Raises StoreUnavailableError."""
    settings = store.settings
    since = datetime.now(UTC) - SILENCE * timedelta(seconds=max(settings.sweep_interval, settings.heartbeat))
    seen = [worker.name for worker in store.workers() if worker.host == host and worker.last_seen > since]
    patience = DEAF_AFTER * max(settings.republish_after, settings.sweep_interval)
    return any(not store.is_deaf(name, patience) for name in seen)


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
