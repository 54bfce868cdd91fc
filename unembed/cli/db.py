"""`unembed db`: the database's tables."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli.console import out, say
from unembed.cli.extras import needs
from unembed.cli.options import AsJson
from unembed.cli.server_logs import logged
from unembed.cli.usage import VerbsInWords
from unembed.errors import InputError
from unembed.models import logs

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

app = typer.Typer(cls=VerbsInWords, no_args_is_help=True, help="Upgrade or check the tables of the database.")

Database = Annotated[str | None, typer.Option("--database-url", help="Default: UNEMBED_DATABASE_URL.")]


@app.command()
def upgrade(
    as_json: AsJson = False,
    database_url: Database = None,
    backup: Annotated[
        bool, typer.Option("--backup/--no-backup", help="Copy a SQLite database first, beside its file.")
    ] = True,
) -> None:
    """Upgrade the tables to this version. Safe to repeat, and to run from several places at once.

    A SQLite database is copied first, and the latest three copies are kept. Of PostgreSQL, make a copy yourself: the
    command is shown, and at a terminal you are asked whether there is one.
    """
    as_records = logs.chosen() == "json" and not as_json  # of which stdout has to be free
    tell = log.info if as_records else say
    with logged(None), engine_of(database_url) as engine:
        from unembed.models import database
        from unembed.models.backup import is_behind, upgrade_with_copy

        if as_records:
            logs.set_up("migrations")
        before = database.revision(engine)
        if not backup:
            database.upgrade(engine)
        else:
            if engine.dialect.name == "postgresql" and is_behind(engine):
                _ask_for_a_copy(engine)
            upgrade_with_copy(engine, tell)
        after = database.revision(engine)
        newer = ", of a newer version, which this one can use" if after and database.is_newer(after) else ""
    if as_json:
        typer.echo(json.dumps({"revision": after, "before": before}))
    tell(f"the tables are at revision {after}" + newer + ("" if before == after else f", before: {before or 'none'}"))


def _ask_for_a_copy(engine: Engine) -> None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
    say(f"the tables are upgraded in one transaction. For a copy of them first: pg_dump -Fc -f unembed.dump '{url}'")
    if sys.stdin.isatty() and not typer.confirm("Upgrade them now?", err=True):
        raise InputError("nothing was upgraded; run it again when there is a copy, or with --no-backup")


@app.command()
def revision(as_json: AsJson = False, database_url: Database = None) -> None:
    """Print the revision of the tables; nothing on stdout if there are none."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        found = database.revision(engine)
        name = engine.url.render_as_string(hide_password=True)
        missing = f"there is no database {name} yet" if database.has_no_file(engine) else f"{name} has no tables yet"
    if as_json:
        typer.echo(json.dumps({"revision": found}))
    elif found:
        out.print(found)
    else:
        say(f"{missing}: unembed db upgrade --database-url {name}")


@app.command()
def check(as_json: AsJson = False, database_url: Database = None) -> None:
    """Check that the tables are what this version expects."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        database.check(engine)
        found = database.revision(engine)
    if as_json:
        typer.echo(json.dumps({"revision": found}))
    say("the tables are as this version expects")


@contextmanager
def engine_of(url: str | None) -> Iterator[Engine]:
    with needs("store"):
        from unembed.models.database import open_engine
        from unembed.models.settings import read_settings
    given = {"database_url": url} if url else {}
    with open_engine(read_settings(**given).database_url) as engine:
        yield engine
