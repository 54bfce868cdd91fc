"""Alembic's migrations. `unembed.models.database.upgrade` applies them; `alembic` works in a checkout."""
