"""`unembed keys`: the API keys that the database knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.table import Table

from unembed.boundary import did_you_mean
from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.db import Database, engine_of
from unembed.cli.extras import needs
from unembed.cli.usage import VerbsInWords
from unembed.errors import InputError, NotFoundError
from unembed.home import home_folder
from unembed.runs import DATABASE_FILE
from unembed.schemas import KeyRole

if TYPE_CHECKING:
    from unembed.models.store import ApiKey, ClientLimits
    from unembed.models.store.keys import ApiKeys

app = typer.Typer(cls=VerbsInWords, no_args_is_help=True, help="Make, list or revoke API keys.")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")
_LIMITS: Final = ("rows", "bytes", "requests")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what it is for.", show_default=False)]
Role = Annotated[
    KeyRole,
    typer.Option(
        "--role",
        help="reader looks at its own jobs, submitter submits too, admin does all of it with everybody's jobs.",
    ),
]
Limit = Annotated[
    list[str],
    typer.Option(
        "--limit",
        metavar="WHAT=NUMBER",
        help="rows=1000000 or bytes=1GiB queued or running, requests=600 a minute; can be given several times. "
        "Default: UNEMBED_MAX_CLIENT_ROWS, _BYTES and _REQUESTS.",
        show_default=False,
    ),
]


@app.command()
def add(
    name: Name,
    role: Role = KeyRole.SUBMITTER,
    limit: Limit = [],  # noqa: B006 - typer copies it
    as_json: given.AsJson = False,
    database_url: Database = None,
) -> None:
    """Make a key and print it. It is shown this once: only a digest is kept. Servers know it within two seconds."""
    if not _NAME.fullmatch(name):
        raise InputError(f"the name is {name[:80]!r}; expected up to 60 letters, digits and . _ @ -")
    with _keys(database_url) as keys:
        from unembed.models.store.keys import new_secret

        secret = new_secret()
        key = keys.add(name, role, _limits_of(limit), secret)
    say(f"the key {key.name}, {key.role}; keep it, it is not shown again:")
    typer.echo(json.dumps(_shown(key) | {"key": secret}, indent=2) if as_json else secret)


@app.command("list")
def list_keys(as_json: given.AsJson = False, database_url: Database = None) -> None:
    """List the keys by name, with those that were revoked."""
    with _keys(database_url) as keys:
        found = keys.all()
    if as_json:
        typer.echo(json.dumps([_shown(key) for key in found], indent=2))
    elif found:
        out.print(_table(found))
    else:
        say("no keys")


@app.command()
def revoke(name: Name, as_json: given.AsJson = False, database_url: Database = None) -> None:
    """Revoke a key: within two seconds it opens nothing any more. Its jobs stay, and go on."""
    with _keys(database_url) as keys:
        try:
            revoked = keys.revoke(name)
        except NotFoundError as error:
            active = [key.name for key in keys.all() if key.revoked_at is None]
            raise NotFoundError(f"{error.message}{did_you_mean(name, active)}") from error
    if as_json:
        typer.echo(json.dumps(_shown(revoked), indent=2))
    say(f"the key {name} is revoked")


def _database_of_up(database_url: str | None) -> str | None:
    """`database_url`, or that of `unembed up` where nothing names a database, and `unembed serve` has none here."""
    with needs("store"):
        from unembed.models.settings import read_settings
        from unembed.models.sqlite import sqlite_url
    own, here = home_folder() / DATABASE_FILE, Path("unembed.db")
    if database_url or "database_url" in read_settings().model_fields_set or here.exists():
        return database_url
    if not own.is_file():
        raise InputError(
            f"no database is named, and `unembed up` has none in {own.parent}; name one with --database-url or "
            "UNEMBED_DATABASE_URL"
        )
    say(f"in the database of `unembed up`, {own}:", "dim")
    return sqlite_url(own)


@contextmanager
def _keys(database_url: str | None) -> Iterator[ApiKeys]:
    with engine_of(_database_of_up(database_url)) as engine, needs("store"):
        from unembed.models.settings import read_settings
        from unembed.models.store import Store

        yield Store(engine, read_settings()).keys


def _limits_of(texts: Sequence[str]) -> ClientLimits:
    from unembed.models.store import ClientLimits

    limits: dict[str, int] = {}
    for text in texts:
        what, _, number = text.partition("=")
        try:
            limits[what] = TypeAdapter(ByteSize if what == "bytes" else int).validate_python(number)
        except ValidationError:
            limits[what] = 0
        if what not in _LIMITS or limits[what] < 1:
            raise InputError(f"--limit is {text!r}; expected rows=NUMBER, bytes=SIZE or requests=NUMBER, 1 or more")
    return ClientLimits(**limits)


def _shown(key: ApiKey) -> dict[str, Any]:
    times = {name: time and time.isoformat() for name, time in asdict(key).items() if name.endswith("_at")}
    return {**asdict(key), **times}


def _table(keys: Sequence[ApiKey]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("name", "role", "limits", "made", "revoked"):
        table.add_column(column)
    for key in keys:
        limits = (f"{what}={number:,}" for what, number in asdict(key.limits).items() if number is not None)
        revoked = key.revoked_at.strftime("%Y-%m-%d %H:%M") if key.revoked_at else ""
        table.add_row(key.name, key.role, ", ".join(limits), key.created_at.strftime("%Y-%m-%d %H:%M"), revoked)
    return table
