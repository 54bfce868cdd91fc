"""The API in a process of its own."""

from __future__ import annotations

import uvicorn

from unembed.api.app import create_app
from unembed.models.settings import Settings


def serve(settings: Settings, *, grace: int = 10, access_log: bool = True) -> None:
    """Serves until told to stop, then lets requests end for `grace` seconds. Raises what `create_app` raises."""
    app = create_app(settings)
    uvicorn.run(app, host=settings.host, port=settings.port, timeout_graceful_shutdown=grace, access_log=access_log)
