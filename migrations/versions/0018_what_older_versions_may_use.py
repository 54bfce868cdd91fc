"""Which versions may go on with tables that a newer one has upgraded: those that know the revision noted here.

Parts are upgraded one after the other, so for a while some are older than the tables. A migration that only adds leaves
the note as it is. One that takes away, renames or narrows notes its own revision, and comes a version later than the
code that no longer uses what it takes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "compatibility",
        sa.Column("oldest_revision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("oldest_revision", name=op.f("pk_compatibility")),
    )
    op.bulk_insert(table, [{"oldest_revision": revision}])


def downgrade() -> None:
    op.drop_table("compatibility")
