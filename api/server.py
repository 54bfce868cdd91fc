"""The API in a process of its own."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn

from unembed import tracing
from unembed.api.app import create_app
from unembed.api.deps import Deps
from unembed.models.settings import Settings

_DID_NOT_START: Final = 3  # uvicorn's own


def serve(settings: Settings, *, grace: int = 10, access_log: bool = True) -> None:
    """Serves until told to stop, then lets requests end for `grace` seconds. Raises what `create_app` raises."""
    tracing.set_up("unembed-api")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=grace,
        access_log=access_log,
        log_config=None,  # its loggers' records go where all others do
    )
    server = _Server(config, app.state.deps)
    with suppress(KeyboardInterrupt):
        server.run()
    tracing.flush()
    if not server.started:
        sys.exit(_DID_NOT_START)


class _Server(uvicorn.Server):
    """Tells those who wait for news, at once, that there will be none."""

    def __init__(self, config: uvicorn.Config, deps: Deps) -> None:
        super().__init__(config)
        self._deps = deps

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._deps.leaving.set()
        super().handle_exit(sig, frame)
