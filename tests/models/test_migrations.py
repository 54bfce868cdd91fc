"""The migrations and `unembed.models.tables` say the same, on both databases, and every migration can be undone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import main as alembic
from sqlalchemy import Engine, inspect, select, text

from unembed.errors import StoreUnavailableError
from unembed.models import database
from unembed.models.database import check, create_engine, downgrade, head, revision, upgrade
from unembed.models.tables import Base, JobRow
from unembed.schemas import DecodeOptions


@pytest.fixture
def empty_engine(empty_database_url: str) -> Iterator[Engine]:
    engine = create_engine(empty_database_url)
    yield engine
    engine.dispose()


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def _described(engine: Engine) -> dict[str, Any]:
    """Every column, constraint and index by name: more than Alembic compares, which skips CHECK constraints."""
    inspector = inspect(engine)

    def named(found: list[Any]) -> list[dict[str, Any]]:
        return sorted(({**one, "type": str(one.get("type"))} for one in found), key=lambda one: str(one["name"]))

    return {
        table: [
            named(inspector.get_columns(table)),
            named(inspector.get_check_constraints(table)),
            named(inspector.get_unique_constraints(table)),
            named(inspector.get_foreign_keys(table)),
            named(inspector.get_indexes(table)),
            inspector.get_pk_constraint(table),
        ]
        for table in Base.metadata.tables
    }


def test_upgrade_makes_what_the_models_say_and_downgrade_removes_it(empty_engine: Engine) -> None:
    # Given a database without a table
    assert revision(empty_engine) is None
    # When it is upgraded
    upgrade(empty_engine)
    # Then Alembic finds nothing to add, and the tables are there
    check(empty_engine)
    assert revision(empty_engine) == head()
    assert _tables(empty_engine) == set(Base.metadata.tables)
    # And when it is downgraded, nothing is left
    downgrade(empty_engine)
    assert _tables(empty_engine) == set()
    assert revision(empty_engine) is None


def test_the_revisions_that_are_known_are_alembics() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(database._config())
    assert database._known_revisions() == {script.revision for script in scripts.walk_revisions()}
    assert head() == scripts.get_current_head()


def test_upgrade_twice_is_the_same_as_once(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    upgrade(empty_engine)
    check(empty_engine)


def test_the_named_constraints_are_those_of_the_models(empty_engine: Engine) -> None:
    # Given what the models say
    Base.metadata.create_all(empty_engine)
    meant = _described(empty_engine)
    Base.metadata.drop_all(empty_engine)
    # When the migrations run instead
    upgrade(empty_engine)
    # Then every column, constraint and index is the same
    assert _described(empty_engine) == meant


def test_rows_from_before_the_manifold_do_not_know_and_outlive_it(empty_engine: Engine) -> None:
    # Given a database of the revision before, with a row
    upgrade(empty_engine, "0002")
    rows = {
        "jobs": "id, state, client, decoder, embedding_dim, seed, options, batches_done, created_at",
        "batches": "id, job_id, ordinal, first_index, rows, bytes, sha256, state, attempt, max_attempts, rows_ok, "
        "rows_fallback, rows_error, waited_ms, load_ms, decode_ms, score_ms, write_ms, queued_at",
        "generations": 'job_id, "index", batch_id, text, status',
    }
    values = {
        "jobs": "'j', 'receiving', '', 'd', 4, 0, '{}', 0, CURRENT_TIMESTAMP",
        "batches": "'b', 'j', 0, 0, 1, 16, 'x', 'queued', 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, CURRENT_TIMESTAMP",
        "generations": "'j', 0, 'b', 'a text', 'ok'",
    }
    with empty_engine.begin() as connection:
        for table, columns in rows.items():
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values[table]})"))
    # When it is upgraded
    upgrade(empty_engine)
    # Then the row is there, and nothing is known of its vector
    with empty_engine.connect() as connection:
        row = connection.execute(text("SELECT text, off_manifold FROM generations")).one()
    assert tuple(row) == ("a text", None)
    # And the column goes again without the row
    downgrade(empty_engine, "0002")
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT text FROM generations")).scalar_one() == "a text"
    assert "off_manifold" not in {column["name"] for column in inspect(empty_engine).get_columns("generations")}


def test_the_precision_of_a_worker_keeps_its_value_under_its_new_name(empty_engine: Engine) -> None:
    # Given a database of the revision before, with a worker
    upgrade(empty_engine, "0003")
    columns = "name, host, pid, dtype, batches_done, rows_done, started_at, last_seen"
    values = "'w', 'here', 1, 'bfloat16', 0, 0, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP"
    with empty_engine.begin() as connection:
        connection.execute(text(f"INSERT INTO workers ({columns}) VALUES ({values})"))
    # When it is upgraded, and downgraded again
    upgrade(empty_engine)
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT precision FROM workers")).scalar_one() == "bfloat16"
        assert connection.execute(text("SELECT precision FROM batches")).all() == []
    downgrade(empty_engine, "0003")
    # Then the value has outlived both
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT dtype FROM workers")).scalar_one() == "bfloat16"
    assert "precision" not in {column["name"] for column in inspect(empty_engine).get_columns("batches")}


def test_a_batch_by_reference_goes_when_the_database_knows_none(empty_engine: Engine) -> None:
    # Given a database of today, with a batch that has a payload and one by reference
    upgrade(empty_engine)
    jobs = "id, state, client, decoder, embedding_dim, seed, options, batches_done, created_at"
    batches = (
        "id, job_id, ordinal, first_index, rows, bytes, sha256, reference, state, attempt, max_attempts, rows_ok, "
        "rows_fallback, rows_error, waited_ms, load_ms, decode_ms, score_ms, write_ms, queued_at"
    )
    state = "'queued', 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, CURRENT_TIMESTAMP"
    with empty_engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO jobs ({jobs}) VALUES ('j', 'receiving', '', 'd', 4, 0, '{{}}', 0, CURRENT_TIMESTAMP)")
        )
        for values in ("'b0', 'j', 0, 0, 1, 16, 'x', NULL", "'b1', 'j', 1, 1, 1, 0, 'x', '{}'"):
            connection.execute(text(f"INSERT INTO batches ({batches}) VALUES ({values}, {state})"))
    # When it is downgraded, Then only the one whose vectors can still be found is left
    downgrade(empty_engine, "0005")
    with empty_engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM batches")).scalars().all() == ["b0"]
    assert "reference" not in {column["name"] for column in inspect(empty_engine).get_columns("batches")}
    # And it can be upgraded again
    upgrade(empty_engine)
    check(empty_engine)


def test_jobs_from_before_keep_decoding_as_they_did(empty_engine: Engine) -> None:
    # Given a database of the revision before, with a job of each kind
    upgrade(empty_engine, "0008")
    jobs = {
        "nothing named": ({}, {"candidates": 1, "edits": 0}),
        "greedy": ({"candidates": 1, "rank_by": "auto", "rounds": 1, "beams": None}, {"candidates": 1, "edits": 0}),
        "beams": ({"candidates": 1, "rounds": 1, "beams": 16}, {"candidates": 1, "beams": 16, "edits": 0}),
        "by the encoder": (
            {"candidates": 4, "rank_by": "encoder", "rounds": 2, "beams": None},
            {"candidates": 4, "beams": 16, "embed": 4, "edits": 0},
        ),
        "auto": (
            {"candidates": 32, "rank_by": "auto", "rounds": 1, "beams": 40, "scores": "none"},
            {"candidates": 32, "beams": 40, "embed": 32, "edits": 0, "scores": "none"},
        ),
        "by the decoder": (
            {"candidates": 8, "rank_by": "decoder", "rounds": 1, "beams": None},
            {"candidates": 8, "beams": 32, "rank_by": "decoder", "edits": 0},
        ),
        "samples": (
            {"candidates": 8, "rank_by": "auto", "rounds": 1, "beams": None, "temperature": 0.7},
            {"candidates": 8, "embed": 8, "edits": 0, "temperature": 0.7},
        ),
    }
    columns = "id, state, client, decoder, embedding_dim, seed, options, batches_done, created_at"
    values = ":id, 'receiving', '', 'd', 4, 0, :options, 0, CURRENT_TIMESTAMP"
    with empty_engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO jobs ({columns}) VALUES ({values})"),
            [{"id": name, "options": json.dumps(options)} for name, (options, _) in jobs.items()],
        )
    # When it is upgraded, Then each has options of today that mean the same
    upgrade(empty_engine)
    with empty_engine.connect() as connection:
        found = dict(connection.execute(select(JobRow.id, JobRow.options)).all())
    assert {name: DecodeOptions(**options) for name, options in found.items()} == {
        name: DecodeOptions(**expected) for name, (_, expected) in jobs.items()
    }
    # And when it is downgraded and upgraded again, they mean it still
    downgrade(empty_engine, "0008")
    with empty_engine.connect() as connection:
        before = dict(connection.execute(select(JobRow.id, JobRow.options)).all())
    assert not any({"embed", "edits"} & options.keys() for options in before.values())
    assert {options["rank_by"] for options in before.values()} == {"auto", "decoder"}
    upgrade(empty_engine)
    with empty_engine.connect() as connection:
        again = dict(connection.execute(select(JobRow.id, JobRow.options)).all())
    assert {name: options["embed"] for name, options in again.items()} == {
        name: options["embed"] for name, options in found.items()
    }


def test_two_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    # Given two engines on one empty database
    engines = [create_engine(empty_database_url) for _ in range(2)]
    failures: list[Exception] = []

    def run(engine: Engine) -> None:
        try:
            upgrade(engine)
        except Exception as error:
            failures.append(error)

    # When both upgrade
    threads = [threading.Thread(target=run, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then neither fails, and the tables are as they should be
    assert failures == []
    check(engines[0])
    for engine in engines:
        engine.dispose()


def test_check_says_what_to_do_when_the_database_was_never_migrated(empty_engine: Engine) -> None:
    empty_engine.connect().close()  # of SQLite, a file without tables
    with pytest.raises(StoreUnavailableError, match=rf"revision none.*expects {head()}.*unembed db upgrade"):
        check(empty_engine)


def test_check_finds_a_column_that_the_models_do_not_know(empty_engine: Engine) -> None:
    upgrade(empty_engine)
    with empty_engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN stray INTEGER"))
    with pytest.raises(StoreUnavailableError, match="stray"):
        check(empty_engine)


def test_a_failed_migration_leaves_the_database_as_it_was(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a migration that fails after it has made a table
    from alembic.operations import Operations

    create: Callable[..., Any] = Operations.create_table

    def fail_at_batches(self: Operations, name: str, *columns: Any, **kw: Any) -> Any:
        if name == "batches":
            raise RuntimeError("power failure")
        return create(self, name, *columns, **kw)

    monkeypatch.setattr(Operations, "create_table", fail_at_batches)
    # When it runs
    with pytest.raises(RuntimeError, match="power failure"):
        upgrade(empty_engine)
    # Then no table stays
    assert _tables(empty_engine) == set()
    assert revision(empty_engine) is None


def test_the_alembic_command_works_from_the_checkout(
    empty_database_url: str, empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the configuration in pyproject.toml and the database in the environment
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setenv("UNEMBED_DATABASE_URL", empty_database_url)
    # When the commands are run as a developer would, then they find the migrations, the models and the database
    alembic(["upgrade", "head"])
    alembic(["check"])
    assert revision(empty_engine) == head()
    alembic(["downgrade", "base"])
    assert _tables(empty_engine) == set()
