"""Parts are upgraded one after the other: older ones go on with newer tables, until a migration says otherwise."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine, text

from unembed.errors import StoreUnavailableError
from unembed.models import database
from unembed.models.database import head, is_usable, require_head, require_usable, revision, upgrade

# What only adds: a part that does not know of it goes on as before.
TAKES_AWAY = re.compile(
    r"drop_table|drop_column|drop_constraint|alter_column|rename_table|batch_alter_table|create_check_constraint"
    r"|create_unique_constraint|create_foreign_key|unique=True"
    r"|\b(DROP (TABLE|COLUMN|CONSTRAINT)|RENAME|ALTER COLUMN)\b",
)
NEW_COLUMN = re.compile(r"add_column\(.*?\n?.*?nullable=False(?!.*server_default)")
SAYS_SO = re.compile(r"UPDATE compatibility SET oldest_revision")
SINCE = "0018"


def upgrades() -> dict[str, str]:
    """The text of each migration's way up, by its revision."""
    found = {}
    for path in sorted(database._migrations().glob("versions/*.py")):
        whole = path.read_text(encoding="utf-8")
        (name,) = re.findall(r"^revision = \"(\w+)\"", whole, re.MULTILINE)
        found[name] = whole[whole.index("def upgrade") : whole.index("def downgrade")]
    return found


def test_a_migration_only_adds_or_says_that_older_versions_cannot_go_on() -> None:
    # Given the migrations since there is a place to say so, When one takes away, Then it says so
    for name, up in upgrades().items():
        if name > SINCE and (TAKES_AWAY.search(up) or NEW_COLUMN.search(up)):
            assert SAYS_SO.search(up), (
                f"migration {name} takes something away from parts of the version before, which run beside this one's "
                f"while they are upgraded. Do it a version later than the code that no longer uses it, and add "
                f"op.execute(\"UPDATE compatibility SET oldest_revision = '{name}'\")"
            )


def make_newer(engine: Engine, oldest: str) -> None:
    """As a version yet to come would leave the tables: one column more, a revision that nobody here knows."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN of_tomorrow VARCHAR(8)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text(f"UPDATE compatibility SET oldest_revision = '{oldest}'"))


@pytest.fixture
def migrated(empty_database_url: str) -> Engine:
    engine = database.create_engine(empty_database_url)
    upgrade(engine)
    return engine


def test_newer_tables_that_only_have_more_are_used(migrated: Engine) -> None:
    # Given tables that a newer version has upgraded, and only added to
    make_newer(migrated, oldest=head())
    # When this version looks at them, Then it goes on
    require_usable(migrated)
    assert is_usable(migrated)
    # And its own upgrade, as of a version that is rolled back, changes nothing and is no error
    upgrade(migrated)
    assert revision(migrated) == "9999"
    # And they are still not what it would have made
    with pytest.raises(StoreUnavailableError, match="newer"):
        require_head(migrated)
    migrated.dispose()


def test_newer_tables_that_have_less_are_refused(migrated: Engine) -> None:
    # Given tables from which a newer version has taken away
    make_newer(migrated, oldest="9998")
    # When this version looks at them, Then it says that it cannot use them, and what to do
    for look in (require_usable, upgrade):
        with pytest.raises(
            StoreUnavailableError, match=r"revision 9999, which is newer .*cannot be used by it: install"
        ):
            look(migrated)
    migrated.dispose()


def test_older_tables_are_refused(migrated: Engine) -> None:
    # Given tables of the version before
    database.downgrade(migrated, "0016")
    # When this version looks at them, Then it says what to run
    assert not is_usable(migrated)
    with pytest.raises(StoreUnavailableError, match=f"at revision 0016, this version expects {head()}: run"):
        require_usable(migrated)
    migrated.dispose()
