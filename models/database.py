"""The engine, and the schema's migrations, on SQLite and PostgreSQL.

Alembic is imported when tables are changed or compared: every part of a server imports this module as it starts, and
to know at which revision the tables are takes one SELECT.
"""

from __future__ import annotations

import io
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, DBAPIError, IntegrityError, InterfaceError

from unembed.errors import InputError, StoreUnavailableError
from unembed.models import postgresql, sqlite

if TYPE_CHECKING:
    from alembic.config import Config

READ_ONLY = "unembed_read_only"  # execution options: this transaction will not write;
MIGRATES = "unembed_migrates"  # this one changes tables

CONNECT_TIMEOUT_SECONDS = 5
_QUIETLY: Final[dict[str, Any]] = {"hide_parameters": True}  # errors go into logs, and may be about a row with its text
_FOREIGN_KEYS = "unembed_foreign_keys"  # what a connection's pragma was last set to
# A PostgreSQL advisory lock of our own: any number that nobody else uses.
_TAKE_TURN: Final = "SELECT pg_try_advisory_xact_lock(7305166281903)"
_TURN_SECONDS: Final = 0.2  # until it is asked for again
_REVISION: Final = re.compile(r"^(?P<key>revision|down_revision) = ['\"](?P<name>\w+)['\"]", re.MULTILINE)


def create_engine(url: str) -> Engine:
    """An engine that keeps the promises the store relies on; it connects when it is first used.

    A commit to SQLite outlives any process. To have it outlive a loss of power as well, at the price of a flush to the
    disk for each, add `?synchronous=FULL` to the URL. Raises InputError for a database that is neither SQLite nor
    PostgreSQL.
    """
    parsed = _with_driver(url)
    if parsed.get_backend_name() == "sqlite":
        synchronous = sqlite.synchronous_of(parsed)
        parsed = parsed.difference_update_query(["synchronous"])
        engine = sqlalchemy.create_engine(parsed, **_QUIETLY, **sqlite.options_of(url))
        event.listen(engine, "connect", lambda connection, _: sqlite.prepare(connection, synchronous))
        event.listen(engine, "begin", _begin_on_sqlite)
        return engine
    arguments = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "unembed"}
    arguments = {name: value for name, value in arguments.items() if name not in parsed.query}
    engine = sqlalchemy.create_engine(parsed, **_QUIETLY, pool_pre_ping=True, connect_args=arguments)
    event.listen(engine, "connect", postgresql.prepare)
    event.listen(engine, "begin", postgresql.begin)
    event.listen(engine, "before_cursor_execute", postgresql.choose_format)
    return engine


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """An engine for the length of the block."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _with_driver(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InputError("the database's URL cannot be read; expected sqlite:///FILE or postgresql://…") from None
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise InputError(f"the database is {parsed.drivername!r}; expected sqlite:///FILE or postgresql://…")
    return parsed


def _begin_on_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes cannot wait for its turn: SQLite refuses it at once, whatever the
    # busy timeout. So writers take the turn when they begin; readers need none, they see the last commit.
    options = connection.get_execution_options()
    # A migration replaces a table by a copy of it: with foreign keys on, dropping the old one would delete, by
    # cascade, what refers to it. The pragma has no effect within a transaction, hence here.
    foreign_keys = "OFF" if options.get(MIGRATES) else "ON"
    if connection.info.get(_FOREIGN_KEYS) != foreign_keys:
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {foreign_keys}")
        connection.info[_FOREIGN_KEYS] = foreign_keys
    connection.exec_driver_sql("BEGIN" if options.get(READ_ONLY) else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: Engine, *, read_only: bool = False, migrates: bool = False) -> Iterator[Connection]:
    """A connection in a transaction that commits at the end, or rolls back when the block raises.

    Raises StoreUnavailableError when the database cannot be reached, is locked for too long, is no database, or does
    not have our tables.
    """
    try:
        with engine.connect() as connection:
            connection.execution_options(**{READ_ONLY: read_only, MIGRATES: migrates})
            with connection.begin():
                yield connection
    except (IntegrityError, DataError):
        raise  # of what was written, not of the database
    except (DatabaseError, InterfaceError, sqlite3.Error) as error:  # the last: while a connection is prepared
        raise unavailable(engine, error) from error


def unavailable(engine: Engine, error: DBAPIError | sqlite3.Error) -> StoreUnavailableError:
    url = engine.url.render_as_string(hide_password=True)
    original = error.orig if isinstance(error, DBAPIError) else error
    cause = " ".join(str(original).split())
    if "no such table" in cause or "no such column" in cause or getattr(original, "sqlstate", "") in _NO_SUCH:
        return StoreUnavailableError(
            f"the database {url} does not have the tables of this version: run `unembed db upgrade`"
        )
    return StoreUnavailableError(f"the database {url} cannot be used: {cause}")


_NO_SUCH = ("42P01", "42703")  # PostgreSQL: undefined table, undefined column


def upgrade(engine: Engine, target: str = "head") -> None:
    """Bring the tables to a revision; safe when several processes do it at once: one does, the others wait.

    Where a newer version of Unembed has been there, and left tables that this one can use, nothing is done. Raises
    StoreUnavailableError when it left others.
    """
    if target == "head" and is_usable(engine):
        return
    from alembic import command

    if engine.dialect.name == "postgresql":
        _prepare(engine, target)
    with _migrating(engine) as config:
        command.upgrade(config, target)


def _prepare(engine: Engine, target: str) -> None:
    """What migrations do before the transaction of all of them: build indexes of tables that others write to."""
    with _in_turn(engine) as connection:
        found = _revision(connection)
        if found is None or is_newer(found):
            return
        from alembic.script import ScriptDirectory

        scripts = list(ScriptDirectory.from_config(_config()).iterate_revisions(target, found))
        pending = [script.module.prepare for script in reversed(scripts) if hasattr(script.module, "prepare")]
        if pending:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")  # it holds the turn
            with engine.connect() as apart, postgresql.without_transactions(apart):
                for prepare in pending:
                    prepare(apart)


def downgrade(engine: Engine, target: str = "base") -> None:
    from alembic import command

    with _migrating(engine) as config:
        command.downgrade(config, target)


def revision(engine: Engine) -> str | None:
    """The revision that the tables are at; None: no migration was ever applied. To ask makes no SQLite file."""
    if has_no_file(engine):
        return None
    with transaction(engine, read_only=True) as connection:
        return _revision(connection)


def has_no_file(engine: Engine) -> bool:
    """Whether this is a SQLite database that nobody has made yet."""
    return engine.dialect.name == "sqlite" and sqlite.has_no_file(engine.url)


def _revision(connection: Connection) -> str | None:
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


@cache
def head() -> str:
    """The revision that this version of Unembed expects: the one that no other one follows."""
    (newest,) = _known_revisions() - set(_revisions("down_revision"))
    return newest


def check(engine: Engine) -> None:
    """Raise StoreUnavailableError unless the tables are what `unembed.models.tables` says."""
    require_head(engine)
    from alembic import command
    from alembic.util.exc import CommandError

    try:
        with _migrating(engine) as config:
            command.check(config)
    except CommandError as error:
        url = engine.url.render_as_string(hide_password=True)
        raise StoreUnavailableError(f"the tables of {url} are not what this version expects: {error}") from error


def require_head(engine: Engine) -> None:
    """Raise StoreUnavailableError, saying what to do, unless the tables are at this version's own revision."""
    if (found := revision(engine)) != head():
        raise _other_tables(engine, found)


def require_usable(engine: Engine) -> None:
    """Raise StoreUnavailableError, saying what to do, unless this version can use the tables.

    It can when they are at its own revision, or at that of a newer version which has taken nothing away that this one
    uses: that is how parts are upgraded one after the other.
    """
    if not is_usable(engine):
        raise _other_tables(engine, revision(engine))


def is_usable(engine: Engine) -> bool:
    """Whether this version can use the tables, which a newer one may have upgraded. Raises StoreUnavailableError."""
    if has_no_file(engine):
        return False
    with transaction(engine, read_only=True) as connection:
        found = _revision(connection)
        if found is None or not is_newer(found):
            return found == head()
        if not sqlalchemy.inspect(connection).has_table("compatibility"):
            return False
        oldest = connection.exec_driver_sql("SELECT oldest_revision FROM compatibility").scalar()
        return oldest in _known_revisions()


def is_newer(found: str) -> bool:
    """Whether this revision is of a newer version of Unembed. None was ever removed, so it is if it is not known."""
    return found not in _known_revisions()


def _other_tables(engine: Engine, found: str | None) -> StoreUnavailableError:
    url = engine.url.render_as_string(hide_password=True)
    if found is not None and is_newer(found):
        return StoreUnavailableError(
            f"the tables of {url} are at revision {found}, which is newer than this version of unembed ({head()}) and "
            "cannot be used by it: install the version that made them, or use another database"
        )
    what = f"the tables of {url} are at revision {found or 'none'}, this version expects {head()}"
    if has_no_file(engine):
        what = f"there is no database {url} yet"
    return StoreUnavailableError(f"{what}: run `unembed db upgrade --database-url {url}`")


@cache
def _known_revisions() -> set[str]:
    return set(_revisions("revision"))


def _revisions(key: str) -> Iterator[str]:
    """What the migrations say of themselves, read as text: `revision`, or `down_revision`, the one before."""
    for path in sorted(_migrations().glob("versions/*.py")):
        for said in _REVISION.finditer(path.read_text(encoding="utf-8")):
            if said["key"] == key:
                yield said["name"]


def _migrations() -> Path:
    """The files lie beside the package's own, in a checkout as in an installed wheel."""
    return Path(str(files("unembed.migrations")))


def _config() -> Config:
    from alembic.config import Config

    config = Config(stdout=io.StringIO())  # not ours: what it says there is no data, and what is wrong it raises
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    return config


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    with _in_turn(engine) as connection:
        found = _revision(connection)
        if found is not None and is_newer(found):
            raise _other_tables(engine, found)
        config = _config()
        config.attributes["connection"] = connection
        yield config


@contextmanager
def _in_turn(engine: Engine) -> Iterator[Connection]:
    """A transaction to change tables in, while nobody else does."""
    while True:
        with transaction(engine, migrates=True) as connection:
            if engine.dialect.name == "sqlite" or connection.exec_driver_sql(_TAKE_TURN).scalar():
                yield connection
                return
        # Not within a transaction: an index that is built concurrently waits for those of others, for ever.
        time.sleep(_TURN_SECONDS)
