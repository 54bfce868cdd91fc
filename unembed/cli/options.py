"""Options that several verbs take, and what they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from unembed.client import Client
from unembed.errors import UnavailableError
from unembed.home import home_folder, running_server

Url = Annotated[
    str | None, typer.Option("--url", envvar="UNEMBED_URL", help="The server. Default: the running `unembed up`.")
]
Home = Annotated[Path | None, typer.Option("--home", envvar="UNEMBED_HOME", help="The folder of the embedded server.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `submit` printed it.", show_default=False)]


def known_url(url: str | None, home: Path | None) -> str | None:
    """`--url`, or UNEMBED_URL, or where `unembed up` runs from this home folder; None when there is none of these."""
    given = url or os.environ.get("UNEMBED_URL")
    if given:
        return given
    server = running_server(home_folder(home))
    return server.url if server else None


def connect(url: str | None, home: Path | None) -> Client:
    """A client of the server that these options name; UnavailableError when they name none."""
    found = known_url(url, home)
    if found is None:
        raise UnavailableError(
            f"no server is known: nothing runs from {home_folder(home)}. Start one with `unembed up`, "
            "or name one with --url or UNEMBED_URL"
        )
    return Client(found)
