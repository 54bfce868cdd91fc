"""Jobs take turns: a job has a priority and a turn, and so has its client; a batch knows the message it answers.

It also counts the rows that it has decoded and not written yet; and of a dead batch every row is an error.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PRIORITY = ("ck_jobs_priority", "priority IN ('high', 'normal', 'low')")
UNWRITTEN = (
    "ck_batches_unwritten_while_running",
    "rows_unwritten BETWEEN 0 AND rows AND (rows_unwritten = 0 OR state = 'running')",
)
DEAD = ("ck_batches_dead_is_error", "state <> 'dead' OR rows_error = rows")
ADDED = (
    ("jobs", ("client", "turn", "id")),
    ("batches", ("job_id", "state", "ordinal")),
    ("batches", ("state", "published_at")),
)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def _add_with_rule(table: str, column: str, rule: tuple[str, str]) -> None:
    """A column and its rule at once: SQLite takes a rule by itself only with a copy of the table and all that hangs on
    it, and so does PostgreSQL's syntax."""
    name, condition = rule
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column} CONSTRAINT {name} CHECK ({condition})")


def upgrade() -> None:
    _do_not_wait_long()
    op.create_table(
        "clients",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("turn", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clients")),
    )
    op.create_index(op.f("ix_clients_turn_name"), "clients", ["turn", "name"])
    op.execute("INSERT INTO clients (name, turn) SELECT DISTINCT client, 0.0 FROM jobs")
    _add_with_rule("jobs", "priority VARCHAR(8) DEFAULT 'normal' NOT NULL", PRIORITY)
    op.add_column("jobs", sa.Column("turn", sa.Float()))
    op.execute("UPDATE jobs SET turn = 0.0 WHERE finished_at IS NULL")  # those that have not ended
    op.execute("UPDATE batches SET rows_error = rows WHERE state = 'dead'")
    _add_with_rule("batches", "rows_unwritten INTEGER DEFAULT 0 NOT NULL", UNWRITTEN)
    _add_with_rule("batches", "message VARCHAR(64)", DEAD)
    for table, columns in ADDED:
        op.create_index(op.f(_name(table, columns)), table, list(columns))
    op.drop_index(op.f("ix_batches_job_id_state"), "batches")  # the second of the new ones serves what it served


def downgrade() -> None:
    _do_not_wait_long()
    op.create_index(op.f("ix_batches_job_id_state"), "batches", ["job_id", "state"])
    for table, columns in ADDED:
        op.drop_index(op.f(_name(table, columns)), table)
    if op.get_bind().dialect.name == "postgresql":
        for table, (name, _) in (("batches", DEAD), ("batches", UNWRITTEN), ("jobs", PRIORITY)):
            op.drop_constraint(op.f(name), table, type_="check")
    op.drop_column("batches", "message")
    op.drop_column("batches", "rows_unwritten")
    op.execute("UPDATE batches SET rows_error = 0 WHERE state = 'dead'")
    op.drop_column("jobs", "turn")
    op.drop_column("jobs", "priority")
    op.drop_table("clients")
