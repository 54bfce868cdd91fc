"""Alembic's migrations. `models.database.upgrade` applies them; `alembic` works in a checkout."""
