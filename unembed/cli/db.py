"""`unembed db`: the database's tables."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli.console import out, say
from unembed.cli.extras import needs
from unembed.cli.options import AsJson
from unembed.cli.server_logs import logged
from unembed.cli.usage import VerbsInWords
from unembed.models import logs

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

app = typer.Typer(cls=VerbsInWords, no_args_is_help=True, help="Upgrade or check the tables of the database.")

Database = Annotated[str | None, typer.Option("--database-url", help="Default: UNEMBED_DATABASE_URL.")]


@app.command()
def upgrade(as_json: AsJson = False, database_url: Database = None) -> None:
    """Upgrade the tables to this version. Safe to repeat, and to run from several places at once."""
    as_records = logs.chosen() == "json" and not as_json  # of which stdout has to be free
    with logged(None), engine_of(database_url) as engine:
        from unembed.models import database

        if as_records:
            logs.set_up("migrations")
        before = database.revision(engine)
        database.upgrade(engine)
        after = database.revision(engine)
    if as_json:
        typer.echo(json.dumps({"revision": after, "before": before}))
    done = f"the tables are at revision {after}" + ("" if before == after else f", before: {before or 'none'}")
    if as_records:
        log.info("%s", done)
    else:
        say(done)


@app.command()
def revision(as_json: AsJson = False, database_url: Database = None) -> None:
    """Print the revision of the tables, or nothing if there are none."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        found = database.revision(engine)
    if as_json:
        typer.echo(json.dumps({"revision": found}))
    elif found:
        out.print(found)


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
