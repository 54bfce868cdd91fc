"""`unembed db`: the database's tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli.console import out, say
from unembed.cli.extras import needs

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(no_args_is_help=True, help="Upgrade or check the tables of the database.")

Database = Annotated[str | None, typer.Option("--database-url", help="Default: UNEMBED_DATABASE_URL.")]


@app.command()
def upgrade(database_url: Database = None) -> None:
    """Upgrade the tables to this version. Safe to repeat, and to run from several places at once."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        before = database.revision(engine)
        database.upgrade(engine)
        after = database.revision(engine)
    say(f"the tables are at revision {after}" + ("" if before == after else f", before: {before or 'none'}"))


@app.command()
def revision(database_url: Database = None) -> None:
    """Print the revision of the tables, or nothing if there are none."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        found = database.revision(engine)
    if found:
        out.print(found)


@app.command()
def check(database_url: Database = None) -> None:
    """Check that the tables are what this version expects."""
    with engine_of(database_url) as engine:
        from unembed.models import database

        database.check(engine)
    say("the tables are as this version expects")


@contextmanager
def engine_of(url: str | None) -> Iterator[Engine]:
    with needs("store"):
        from unembed.models.database import open_engine
        from unembed.models.settings import read_settings
    given = {"database_url": url} if url else {}
    with open_engine(read_settings(**given).database_url) as engine:
        yield engine
