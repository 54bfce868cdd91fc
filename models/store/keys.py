"""API keys: made, listed, revoked, and found by what a request sends. Of a key only its digest is stored."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final, cast

from sqlalchemy import RowMapping, Table, bindparam, select, update

from unembed.errors import ConflictError, NotFoundError
from unembed.models.clock import now
from unembed.models.store.sql import StorePart, insert, one
from unembed.models.store.values import ApiKey, ClientLimits
from unembed.models.tables import ApiKeyRow
from unembed.schemas import KeyRole

_KEYS: Final = cast(Table, ApiKeyRow.__table__)
_ACTIVE: Final = select(_KEYS).where(_KEYS.c.revoked_at.is_(None))
_FOUND: Final = _ACTIVE.where(_KEYS.c.digest == bindparam("digest"))


def new_secret() -> str:
    """A key of 256 random bits: too many to be guessed, so that one plain hash of it is enough."""
    return f"unembed_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys(StorePart):
    """The keys that were made by name; those of UNEMBED_API_KEYS are not among them."""

    def add(self, name: str, role: KeyRole, limits: ClientLimits, secret: str) -> ApiKey:
        """A new key of this name; the jobs of an earlier one, which was revoked, are its too.

        Raises ConflictError when there is one that is not revoked.
        """
        values: dict[str, Any] = {
            "digest": digest_of(secret),
            "role": role,
            "max_rows": limits.rows,
            "max_bytes": limits.bytes,
            "max_requests": limits.requests,
            "created_at": now(),
            "revoked_at": None,
        }
        with self._write() as connection:
            statement = insert(connection, _KEYS).values(name=name, **values)
            again = statement.on_conflict_do_update(
                index_elements=["name"], set_=values, where=_KEYS.c.revoked_at.is_not(None)
            )
            added = one(connection, again.returning(_KEYS))
        if added is None:
            raise ConflictError(f"there is a key of the name {name!r} already: revoke it first, or choose another name")
        return _to_key(added)

    def all(self) -> list[ApiKey]:
        """By name, the revoked ones too."""
        with self._read() as connection:
            return [_to_key(row) for row in connection.execute(select(_KEYS).order_by(_KEYS.c.name)).mappings()]

    def revoke(self, name: str) -> ApiKey:
        """It opens nothing any more; what it has submitted stays. Raises NotFoundError when no such key is active."""
        active = update(_KEYS).where(_KEYS.c.name == name, _KEYS.c.revoked_at.is_(None))
        with self._write() as connection:
            revoked = one(connection, active.values(revoked_at=now()).returning(_KEYS))
        if revoked is None:
            raise NotFoundError(f"no key that is not revoked has the name {name!r}")
        return _to_key(revoked)

    def find(self, secret: str) -> ApiKey | None:
        """The key that is this secret, if it is not revoked."""
        with self._read() as connection:
            found = one(connection, _FOUND, {"digest": digest_of(secret)})
        return None if found is None else _to_key(found)

    def are_any(self) -> bool:
        """Whether there is a key that is not revoked."""
        with self._read() as connection:
            return connection.execute(_ACTIVE.limit(1)).first() is not None


def _to_key(row: RowMapping) -> ApiKey:
    return ApiKey(
        name=row["name"],
        role=KeyRole(row["role"]),
        limits=ClientLimits(rows=row["max_rows"], bytes=row["max_bytes"], requests=row["max_requests"]),
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
