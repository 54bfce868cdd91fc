"""Alembic's entry: on the connection that `models/database.py` hands over, or, for `alembic` itself, on a new one."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from unembed.models.database import create_engine, transaction
from unembed.models.settings import read_settings
from unembed.models.tables import Base, UtcDateTime


def render_item(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """A migration must not change when the code does, so it names no type of ours."""
    if kind == "type" and isinstance(value, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    # SQLite can roll back changes of tables too, since the engine begins its transactions itself.
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        render_as_batch=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    engine = create_engine(read_settings().database_url)
    if context.is_offline_mode():
        context.configure(dialect=engine.dialect, target_metadata=Base.metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    try:
        with transaction(engine, migrates=True) as connection:
            migrate(connection)
    finally:
        engine.dispose()


main()
