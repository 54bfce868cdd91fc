"""The environment, read once, as one frozen object.

Every setting is an environment variable, `UNEMBED_` and the field's name in capitals: `UNEMBED_DATABASE_URL`.
Durations are in seconds and sizes in bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="UNEMBED_", frozen=True, extra="ignore")

    database_url: str = "sqlite:///unembed.db"
    redis_url: str = "redis://127.0.0.1:6379/0"  # the queue
    payload_url: str | None = None  # the Redis that keeps payloads; None: the queue's own

    host: str = "127.0.0.1"
    port: int = 8765
    api_keys: Annotated[tuple[str, ...], NoDecode] = ()  # comma-separated; required when `host` is not loopback

    decoders: Path | None = None  # a folder of further checkpoints, each in a folder of its own name
    device: str = "auto"  # auto | cpu | cuda | cuda:0 | mps
    micro_batch: Annotated[int, Field(ge=1)] = 256  # rows decoded together; heartbeats and cancels happen in between
    threads: Annotated[int, Field(ge=0)] = 0  # torch threads of a CPU worker; 0: torch decides

    lease: Annotated[float, Field(gt=0)] = 90.0
    heartbeat: Annotated[float, Field(gt=0)] = 15.0
    sweep_interval: Annotated[float, Field(gt=0)] = 10.0
    republish_after: Annotated[float, Field(gt=0)] = 30.0  # a queued batch whose message is older is published again
    max_attempts: Annotated[int, Field(ge=1)] = 4
    backoff: Annotated[float, Field(ge=0)] = 5.0  # doubles with each attempt

    max_batch_rows: Annotated[int, Field(ge=1)] = 65_536
    max_batch_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    payload_ttl: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    # A job that was begun and not sealed is cancelled so long after its last batch came.
    receive_timeout: Annotated[float, Field(gt=0)] = 24 * 3600.0
    job_ttl: Annotated[float, Field(ge=0)] | None = None  # ended jobs are removed, rows and all; None: never

    # Past these, a new batch is refused (429) until workers have made room. Queued and running ones count.
    max_queued_rows: Annotated[int, Field(ge=1)] = 50_000_000
    max_queued_bytes: Annotated[int, Field(ge=1)] = 4 * 1024**3
    max_client_rows: Annotated[int, Field(ge=1)] | None = None  # of one API key; None: only the limit of all together
    max_client_bytes: Annotated[int, Field(ge=1)] | None = None
    redis_maxmemory: Annotated[int, Field(ge=16 * 1024**2)] | None = (
        None  # of the embedded Redis; None: a quarter of all
    )
    max_redis_use: Annotated[float, Field(gt=0, le=1)] = 0.7  # of Redis's maxmemory; the rest is for messages and acks

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, keys: object) -> object:
        return tuple(key.strip() for key in keys.split(",") if key.strip()) if isinstance(keys, str) else keys

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease < 2 * self.heartbeat:
            raise ValueError(
                f"the lease is {self.lease} s and the heartbeat {self.heartbeat} s; expected a lease of two heartbeats "
                "at least, or a worker would lose its batch for being a little late"
            )
        return self

    @property
    def payload_redis_url(self) -> str:
        return self.payload_url or self.redis_url
