"""The vectors of a queued batch, kept in Redis beside the message, which carries the batch's id alone.

A payload is one Arrow IPC stream (`unembed.corpus` writes and reads it); here it is bytes with a checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis

from unembed.errors import BusyError, QueueUnavailableError, UnembedError

SOCKET_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5


class PayloadMissingError(UnembedError):
    """The batch's vectors are no longer in Redis."""

    code = "payload_missing"


class PayloadDamagedError(UnembedError):
    """The batch's vectors are not those that were sent."""

    code = "payload_damaged"


class Payloads:
    """Payloads by their batch's id, each for `ttl` seconds at most.

    Every method raises QueueUnavailableError when Redis cannot be reached.
    """

    def __init__(self, redis: redis.Redis, ttl: int) -> None:
        self.redis = redis
        self.ttl = ttl

    @classmethod
    def at(cls, url: str, ttl: int) -> Payloads:
        """Connects when it is first used."""
        connection = redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            health_check_interval=25,
        )
        return cls(connection, ttl)

    def put(self, batch_id: str, data: bytes, *, replace: bool = True) -> bool:
        """Keep a payload, and say whether it was; False: the batch has one, and it was not to be replaced.

        Raises BusyError when Redis is full.
        """
        with self._reaching():
            try:
                return bool(self.redis.set(_key(batch_id), data, ex=self.ttl, nx=not replace))
            except redis.exceptions.OutOfMemoryError as error:
                raise BusyError(
                    f"Redis at {self.address} has no room for batch {batch_id}, {len(data)} bytes; try again later"
                ) from error

    def get(self, batch_id: str, sha256: str) -> bytes:
        """Raises PayloadMissingError, or PayloadDamagedError when the checksum is another."""
        with self._reaching():
            data = self.redis.get(_key(batch_id))
        if data is None:
            raise PayloadMissingError(
                f"batch {batch_id} has no payload in Redis at {self.address}: it expired after {self.ttl} s or was lost"
            )
        assert isinstance(data, bytes), "the client decodes no responses"
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise PayloadDamagedError(
                f"the payload of batch {batch_id}, {len(data)} bytes, has the SHA-256 {found}, expected {sha256}"
            )
        return data

    def exists(self, batch_id: str) -> bool:
        with self._reaching():
            return bool(self.redis.exists(_key(batch_id)))

    def delete(self, batch_ids: Sequence[str]) -> None:
        """Those that are not there are no error."""
        if batch_ids:
            with self._reaching():
                self.redis.unlink(*(_key(batch_id) for batch_id in batch_ids))

    def ping(self) -> None:
        with self._reaching():
            self.redis.ping()

    def close(self) -> None:
        self.redis.close()

    @property
    def address(self) -> str:
        """Where Redis is, without the password."""
        where = self.redis.connection_pool.connection_kwargs
        if path := where.get("path"):
            return f"unix://{path}?db={where.get('db') or 0}"
        return f"redis://{where.get('host', 'localhost')}:{where.get('port', 6379)}/{where.get('db') or 0}"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        # A Redis that is still loading, or that wants another password, is a ConnectionError to the client too.
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError) as error:
            raise QueueUnavailableError(f"Redis at {self.address} cannot be reached: {error}") from error


def _key(batch_id: str) -> str:
    return f"unembed:payload:{batch_id}"
