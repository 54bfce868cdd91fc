"""The environment, read once, as one frozen object.

Every setting is an environment variable: `UNEMBED_` and the field's name in capitals, such as `UNEMBED_DATABASE_URL`.
Durations are numbers of seconds or have a unit (`90s`, `5m`, `2h`, `7d`); sizes are numbers of bytes or have a unit
(`64MB`, `4GiB`). An empty variable means the default. With `_FILE` after its name, a variable names a file that has the
value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from unembed.boundary import describe
from unembed.errors import RootsError, SettingsError
from unembed.models.environment import PREFIX, is_service_link, warn_of_unknown
from unembed.models.logs import LogFormat
from unembed.models.redis_url import canonical
from unembed.models.secret_files import read_files, with_password
from unembed.roots import as_root
from unembed.schemas import EngineChoice, Precision

DEFAULT_PORT: Final = 8765
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(rf"(\d+(?:\.\d+)?)\s*([{''.join(_SECONDS)}])")
_DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d+)?|mps")


def _seconds(given: object) -> object:
    """A duration with a unit, in seconds; a plain number stays what it is."""
    if not isinstance(given, str):
        return given
    if with_unit := _DURATION.fullmatch(given.strip().lower()):
        return float(with_unit[1]) * _SECONDS[with_unit[2]]
    try:
        float(given)
    except ValueError:
        raise PydanticCustomError("duration", "a number of seconds, or one with a unit: 90, 90s, 5m, 2h, 7d") from None
    return given


def _port(given: object) -> object:
    """Kubernetes sets UNEMBED_PORT=tcp://10.96.12.7:8765 in every pod beside a service called `unembed`."""
    return DEFAULT_PORT if isinstance(given, str) and is_service_link(f"{PREFIX}PORT", given) else given


def _device(name: str) -> str:
    if not _DEVICE.fullmatch(name):
        raise PydanticCustomError("device", "auto, cpu, cuda, cuda:0 or mps")
    return name


def _web_address(url: str | None) -> str | None:
    """A page links to it: nothing that a browser would run."""
    if url is not None and not re.fullmatch(r"https?://[^\s<>\"']+", url):
        raise PydanticCustomError("web_address", "an address that begins with http:// or https://")
    return url


Seconds = Annotated[float, BeforeValidator(_seconds)]
WholeSeconds = Annotated[int, BeforeValidator(_seconds)]
RedisUrl = Annotated[str, AfterValidator(canonical)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: str = Field("sqlite:///unembed.db", description="the store: `sqlite:///...` or `postgresql://...`")
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0", description="the queue: `redis://`, `rediss://` (TLS) or `unix://`"
    )
    payload_url: RedisUrl | None = Field(
        None, description="the Redis that keeps the vectors of waiting batches; without it, the queue's"
    )
    database_password: SecretStr | None = Field(
        None, description="the password of the database, of any characters, where its URL has a user and no password"
    )
    redis_password: SecretStr | None = Field(None, description="the same for `UNEMBED_REDIS_URL`")
    payload_password: SecretStr | None = Field(None, description="the same for `UNEMBED_PAYLOAD_URL`")

    host: str = Field("127.0.0.1", description="the address that the API listens on")
    port: Annotated[int, BeforeValidator(_port)] = Field(
        DEFAULT_PORT, ge=1, le=65_535, description="the port that the API listens on"
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="API keys, separated by commas, beside those of `unembed keys`; one is required when the host is "
        "not a loopback address",
    )

    flower_url: Annotated[str | None, AfterValidator(_web_address)] = Field(
        None, description="where Flower is, for the link to it on the pages; `unembed up` knows"
    )

    corpus_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="where workers may read corpora by reference: folders, or `s3://`, `gs://`, `https://` prefixes, "
        "separated by commas; without it, nowhere",
    )

    results_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="where jobs may keep their rows in files: folders, or `s3://` and `gs://` prefixes, separated by "
        "commas; without it, nowhere",
    )

    encoders: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="the encoders that decoders may run here, separated by commas, besides those that Unembed knows by "
        "name: `openai:text-embedding-3-small`, `sentence-transformers:/models/mine`, `my_package:embed`",
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="the hosts, separated by commas, to which webhooks may go at private addresses and over `http://`; "
        "all others need a public address and `https://`",
    )

    decoders: Path | None = Field(None, description="a folder of more decoders, each in a folder of its own name")
    device: Annotated[str, AfterValidator(_device)] = Field(
        "auto", description="where workers decode: `auto`, `cpu`, `cuda`, `cuda:0` or `mps`"
    )
    precision: Precision = Field(
        "auto",
        description="of the decoder: `float32`, `bfloat16`, `float16`, or `auto`, the fastest on the device",
    )
    engine: EngineChoice = Field(
        "auto",
        description="what decodes: `native` is compiled for the CPU, `torch` runs everywhere, and `auto` is `native` "
        "where it can be; on a GPU, `auto` is `graph`, which launches several steps at once",
    )
    gpu_memory: ByteSize = Field(
        ByteSize(200 * 1024**2),
        ge=16 * 1024**2,
        description="what rows may take on a GPU: more are decoded together in more memory; the decoder's weights and "
        "CUDA itself come on top",
    )
    micro_batch: int = Field(
        1024,
        ge=1,
        description="texts that are decoded together, the beams of a row as one each; halved automatically when memory "
        "runs out",
    )
    threads: int = Field(0, ge=0, description="torch threads of a CPU worker; 0: torch decides")

    lease: Seconds = Field(
        90.0,
        gt=0,
        description="how long a worker may be silent before its batch goes to another; two heartbeats at least",
    )
    heartbeat: Seconds = Field(15.0, gt=0, description="how often a worker renews its lease")
    sweep_interval: Seconds = Field(10.0, gt=0, description="how often the workers look for lost batches")
    republish_after: Seconds = Field(
        30.0, gt=0, description="how long a batch waits before its message counts as lost and is sent again"
    )
    max_attempts: int = Field(4, ge=1, description="how often a batch is tried before it is given up")
    backoff: Seconds = Field(
        5.0, ge=0, description="the pause after a batch's first failure; doubled by each further one"
    )

    events: bool = Field(
        True,
        description="whether workers tell Flower what happens to each batch; `false` if nobody looks",
    )

    log_format: LogFormat = Field(
        "text", description="how all parts log: `text`, for reading, or `json`, an object a line"
    )

    max_batch_rows: int = Field(65_536, ge=1, description="batches with more rows are refused (413)")
    max_batch_bytes: ByteSize = Field(ByteSize(64 * 1024**2), ge=1, description="larger batches are refused (413)")
    payload_ttl: WholeSeconds = Field(7 * 86_400, ge=60, description="how long the vectors of a waiting batch are kept")
    receive_timeout: Seconds = Field(
        86_400.0, gt=0, description="a job that is not complete is cancelled this long after its last batch arrived"
    )
    job_ttl: Annotated[float, Field(ge=0), BeforeValidator(_seconds)] | None = Field(
        None, description="how long finished jobs, their rows, and uploaded files are kept; without it, for ever"
    )

    # Past these, a new batch is refused until workers have made room.
    max_queued_rows: int = Field(
        50_000_000, ge=1, description="with more rows queued or running, further batches are refused (429)"
    )
    max_queued_bytes: ByteSize = Field(
        ByteSize(4 * 1024**3), ge=1, description="with more bytes queued or running, further batches are refused (429)"
    )
    max_client_rows: int | None = Field(None, ge=1, description="the limit of rows for the jobs of one API key")
    max_client_bytes: ByteSize | None = Field(None, ge=1, description="the limit of bytes for the jobs of one API key")
    max_client_requests: int | None = Field(
        None, ge=1, description="how many requests a minute an API process answers to one API key; more get a 429"
    )
    redis_maxmemory: ByteSize | None = Field(
        None,
        ge=16 * 1024**2,
        description="the memory limit of the embedded Redis; without it, a quarter of the memory of the machine or of "
        "the container",
    )
    max_redis_use: float = Field(
        0.7,
        gt=0,
        le=1,
        description="the share of Redis's `maxmemory` past which batches are refused; the rest is for messages",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(read_files(cls.model_fields)))

    @model_validator(mode="before")
    @classmethod
    def _take_passwords(cls, given: dict[str, Any]) -> dict[str, Any]:
        for url, password in _PASSWORDS.items():
            plain = given.get(password)
            plain = plain.get_secret_value() if isinstance(plain, SecretStr) else plain
            whole = given.get(url) or cls.model_fields[url].default
            if plain and isinstance(whole, str):
                try:
                    given = given | {url: with_password(whole, plain)}
                except ValueError as error:
                    raise ValueError(f"{_variable(url)} does not go with {_variable(password)}: {error}") from None
        return given

    @field_validator("corpus_roots", "results_roots", mode="after")
    @classmethod
    def _roots(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(as_root(root)) for root in given)
        except RootsError as error:
            raise ValueError(error.message) from error

    @field_validator("api_keys", "corpus_roots", "encoders", "results_roots", "webhook_hosts", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return tuple(each.strip() for each in _SEPARATORS.split(given) if each.strip())

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease < 2 * self.heartbeat:
            raise ValueError(
                f"UNEMBED_LEASE is {self.lease:g} s and UNEMBED_HEARTBEAT is {self.heartbeat:g} s; expected a lease of "
                "at least two heartbeats, or a worker that is a little late would lose its batch"
            )
        return self

    def __repr_args__(self) -> Any:
        """URLs without their passwords; pydantic hides the keys itself."""
        for name, value in super().__repr_args__():
            yield name, without_password(value) if name in _URLS and value else value

    @property
    def payload_redis_url(self) -> str:
        return self.payload_url or self.redis_url


_PASSWORDS: Final = {
    "database_url": "database_password",
    "redis_url": "redis_password",
    "payload_url": "payload_password",
}
_URLS: Final = frozenset(_PASSWORDS)
_SECRET: Final = _URLS | set(_PASSWORDS.values()) | {"api_keys", "corpus_roots", "results_roots"}
_SEPARATORS: Final = re.compile(r"[,\n]")  # in a file, one a line


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, `given` before it.

    Raises SettingsError, naming the variable, its value unless it is secret, and what was expected. Variables that
    look like settings and are none are warned of, once a process.
    """
    warn_of_unknown(Settings.model_fields)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(describe(error, name=_variable, secret=_SECRET)) from None


def without_password(url: str) -> str:
    """`url` with *** for its password, if it has one."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url))


def _variable(field: str) -> str:
    return PREFIX + field.partition(".")[0].upper()
