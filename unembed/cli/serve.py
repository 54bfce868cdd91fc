"""`unembed serve`: the API, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.extras import needs
from unembed.cli.options import LogFormat
from unembed.cli.server_logs import logged
from unembed.quick_imports import quick_imports


def serve(
    host: Annotated[str | None, typer.Option(help="Default: UNEMBED_HOST, or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Default: UNEMBED_PORT, or 8765.")] = None,
    log_format: LogFormat = None,
) -> None:
    """Run the API server. Its database and Redis come from the environment (UNEMBED_DATABASE_URL, UNEMBED_REDIS_URL).

    It refuses to listen on anything but loopback without UNEMBED_API_KEYS.
    """
    with needs("api"), quick_imports():
        from unembed.api.server import serve as serve_api
        from unembed.models import logs
        from unembed.models.settings import read_settings
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    with logged(log_format):
        logs.set_up("api")
        serve_api(read_settings(**given))
