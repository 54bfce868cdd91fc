"""The vectors of a queued batch, kept in Redis beside the message, which carries the batch's id alone.

A payload is one Arrow IPC stream (`unembed.corpus` writes and reads it); here it is bytes with a checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from unembed.codes import FailureCode
from unembed.errors import BusyError, QueueUnavailableError, UnembedError
from unembed.models.redis_client import open_redis

SOCKET_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5

SEND_AGAIN = "submit the corpus again; with the idempotency key of its job, finished rows are kept"

_PREFIX = "unembed:payload:"
_KEYS_AT_ONCE = 1000


class PayloadMissingError(UnembedError):
    """The batch's vectors are no longer in Redis."""

    code = FailureCode.PAYLOAD_MISSING


class PayloadDamagedError(UnembedError):
    """The batch's vectors are not those that were sent."""

    code = FailureCode.PAYLOAD_DAMAGED


@dataclass(frozen=True, slots=True)
class Memory:
    """What a Redis uses and may use, in bytes."""

    used: int
    limit: int  # 0: as much as the machine has


class Payloads:
    """Payloads by their batch's id, each for `ttl` seconds at most.

    Every method raises QueueUnavailableError when Redis cannot be reached.
    """

    def __init__(self, redis: redis.Redis, ttl: int) -> None:
        self.redis = redis
        self.ttl = ttl

    @classmethod
    def at(cls, url: str, ttl: int) -> Payloads:
        """Connects when it is first used. Raises InputError for a URL that cannot be used."""
        connection = open_redis(
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
                f"batch {batch_id} has no payload in Redis at {self.address}, expired after {self.ttl} s or lost; "
                f"{SEND_AGAIN}"
            )
        assert isinstance(data, bytes), "the client decodes no responses"
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise PayloadDamagedError(
                f"the payload of batch {batch_id}, {len(data)} bytes, has the SHA-256 {found}, expected {sha256}"
            )
        return data

    def present(self, batch_ids: Sequence[str]) -> list[str]:
        """Of these batches, those that have a payload."""
        found: list[str] = []
        for start in range(0, len(batch_ids), _KEYS_AT_ONCE):
            some = batch_ids[start : start + _KEYS_AT_ONCE]
            with self._reaching(), self.redis.pipeline(transaction=False) as asked:
                for batch_id in some:
                    asked.exists(_key(batch_id))
                found += [batch_id for batch_id, there in zip(some, asked.execute(), strict=True) if there]
        return found

    def batch_ids(self) -> set[str]:
        """The batches that have a payload. Some may be left out when Redis is started again meanwhile: a SCAN goes on
        where it was, but on a server that keeps its keys in another order. `present` is exact.
        """
        with self._reaching():
            keys = self.redis.scan_iter(match=_key("*"), count=_KEYS_AT_ONCE)
            return {key.decode().removeprefix(_PREFIX) for key in keys}

    def delete(self, batch_ids: Sequence[str]) -> None:
        """Those that are not there are no error."""
        with self._reaching():
            for start in range(0, len(batch_ids), _KEYS_AT_ONCE):
                self.redis.unlink(*map(_key, batch_ids[start : start + _KEYS_AT_ONCE]))

    def memory(self) -> Memory:
        with self._reaching():
            told = self.redis.info("memory")
        return Memory(int(told["used_memory"]), int(told.get("maxmemory", 0)))

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
    return f"{_PREFIX}{batch_id}"
