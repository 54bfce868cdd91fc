"""Options that several verbs take, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.client import Client
from unembed.home import require_url

Url = Annotated[
    str | None, typer.Option("--url", envvar="UNEMBED_URL", help="The server. Default: the running `unembed up`.")
]
Home = Annotated[Path | None, typer.Option("--home", envvar="UNEMBED_HOME", help="The folder of the embedded server.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `submit` printed it.", show_default=False)]


def connect(url: str | None, home: Path | None) -> Client:
    """A client of the server that these options name; UnavailableError when they name none."""
    return Client(require_url(url, home))
