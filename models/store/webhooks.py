"""Webhooks: one of a job, due when the job has ended, and tried again until somebody has taken it."""

from __future__ import annotations

import secrets
from typing import Any, Final, cast

from sqlalchemy import Connection, RowMapping, Table, bindparam, select, update

from unembed.errors import NotFoundError
from unembed.models.clock import now
from unembed.models.store.sql import JOBS, StorePart, insert, one
from unembed.models.store.values import DueWebhook
from unembed.models.tables import WebhookRow
from unembed.webhooks import Webhook, WebhookState

_WEBHOOKS: Final = cast(Table, WebhookRow.__table__)
_OF_JOB: Final = _WEBHOOKS.c.job_id == bindparam("job")

# Seconds between the attempts, as Standard Webhooks advise: after the last one it is given up.
PAUSES: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
_TAKEN_FOR: Final = 120.0  # seconds in which nobody else tries it; longer than an attempt may last


class Webhooks(StorePart):
    """What is to be told, to whom, and whether it was."""

    def of(self, job_id: str) -> WebhookState:
        """Raises NotFoundError for a job without a webhook."""
        with self._read() as connection:
            found = one(connection, select(_WEBHOOKS).where(_OF_JOB), {"job": job_id})
        if found is None:
            raise NotFoundError(f"job {job_id} has no webhook")
        return WebhookState(**{name: found[name] for name in WebhookState.model_fields})

    def take_due(self) -> DueWebhook | None:
        """One whose time has come, for two minutes; it counts as an attempt."""
        due = (
            select(_WEBHOOKS.c.job_id)
            .join(JOBS, JOBS.c.id == _WEBHOOKS.c.job_id)
            .where(_WEBHOOKS.c.next_at <= now(), JOBS.c.finished_at.is_not(None))  # it may have been tried again
            .order_by(_WEBHOOKS.c.next_at)
            .limit(1)
        )
        with self._read() as connection:
            if connection.execute(due).first() is None:  # the usual case, in which nobody has to wait for a lock
                return None
        taken = (
            update(_WEBHOOKS)
            .where(_WEBHOOKS.c.job_id.in_(due.with_for_update(skip_locked=True, of=_WEBHOOKS)))
            .values(next_at=now(_TAKEN_FOR), attempts=_WEBHOOKS.c.attempts + 1)
            .returning(_WEBHOOKS)
        )
        with self._write() as connection:
            found = one(connection, taken)
        return None if found is None else _to_due(found)

    def delivered(self, due: DueWebhook) -> None:
        self._note(due, next_at=None, delivered_at=now(), error=None)

    def failed(self, due: DueWebhook, why: str, *, final: bool = False) -> None:
        """It is tried again later, or given up: when it is `final`, or was tried often enough."""
        again = None if final or due.attempts > len(PAUSES) else now(PAUSES[due.attempts - 1])
        self._note(due, next_at=again, error=why[:500])

    def _note(self, due: DueWebhook, **changes: Any) -> None:
        # Not of a later event: the job may have been tried again, and have ended again.
        same = (_WEBHOOKS.c.job_id == due.job_id, _WEBHOOKS.c.event == due.event)
        with self._write() as connection:
            connection.execute(update(_WEBHOOKS).where(*same).values(changes))


def ask_for(connection: Connection, job_id: str, webhook: Webhook) -> None:
    """The end of this job is told there; what was asked for before is forgotten."""
    values = {"url": webhook.url, "secret": webhook.secret.get_secret_value()}
    statement = insert(connection, _WEBHOOKS).values(job_id=job_id, attempts=0, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["job_id"], set_=values))


_MAKE_DUE: Final = (
    update(_WEBHOOKS)
    .where(_OF_JOB)
    .values(event=bindparam("new_event"), attempts=0, next_at=now(), delivered_at=None, error=None)
)


def make_due(connection: Connection, job_id: str) -> None:
    """The job has just ended; nothing happens where nobody asked."""
    connection.execute(_MAKE_DUE, {"job": job_id, "new_event": f"msg_{secrets.token_hex(16)}"})


def _to_due(row: RowMapping) -> DueWebhook:
    return DueWebhook(**{name: row[name] for name in ("job_id", "url", "secret", "event", "attempts")})
