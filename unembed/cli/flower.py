"""`unembed flower`: the pages that show workers and attempts, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.extras import needs
from unembed.cli.options import LogFormat
from unembed.cli.server_logs import logged
from unembed.quick_imports import quick_imports


def flower(
    host: Annotated[str | None, typer.Option(help="Default: FLOWER_ADDRESS, or 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Default: FLOWER_PORT, or 5555; 0: any free one.")
    ] = None,
    url_prefix: Annotated[
        str | None, typer.Option(help="The path under which a proxy shows it. Default: FLOWER_URL_PREFIX, or none.")
    ] = None,
    read_only: Annotated[
        bool | None,
        typer.Option(
            "--read-only/--no-read-only",
            help="Whether it has no buttons. Default: FLOWER_READ_ONLY, or true: what they do, they do to Celery, and "
            "not to batches.",
            show_default=False,
        ),
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """Run Flower. Its database and Redis come from the environment (UNEMBED_DATABASE_URL, UNEMBED_REDIS_URL).

    It refuses to answer on anything but loopback without FLOWER_BASIC_AUTH=USER:PASSWORD. Every other option of Flower
    is a variable too: FLOWER_MAX_TASKS, FLOWER_XHEADERS, and so on.
    """
    with needs("local"), quick_imports():
        from unembed.worker.flower_server import serve
    given = {"address": host, "port": port, "url_prefix": url_prefix, "read_only": read_only}
    with logged(log_format):
        serve({name: value for name, value in given.items() if value is not None})
