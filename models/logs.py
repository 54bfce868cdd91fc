"""The logs of all parts, in one form: a record a line, as JSON or as text (UNEMBED_LOG_FORMAT).

    set_up("worker")              once a process: where records go, and what each of them says of the process
    begin(request_id=...)         where a request begins: what its records say from then on
    with about(batch=...):        where an attempt begins: what the records within the block say as well

What is said this way is in the context of the thread or task (contextvars), so that nobody hands it on. A record never
spans lines that could pass for another record: a name may hold a newline. Texts and vectors are not logged anywhere,
and a password in a URL or a key in a header is taken out here, whoever logged it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, NoReturn, TextIO

from unembed import tracing
from unembed.boundary import as_unembed_error, end_with

log = logging.getLogger(__name__)

LogFormat = Literal["text", "json"]
VARIABLE: Final = "UNEMBED_LOG_FORMAT"

# What a record may have beside the five that each has, in this order: of its context, or given with `extra`.
FIELDS: Final = ("worker", "job", "batch", "attempt", "request_id", "error_code", "client", "method", "path", "status")
_SHOWN: Final = ("batch", "attempt", "request_id")  # in text, where the line is for reading

_NOTHING: Final[Mapping[str, object]] = {}
_context: ContextVar[Mapping[str, object]] = ContextVar("unembed_logs", default=_NOTHING)
_NO_PART: Final = "unembed"
_process: Final[dict[str, object]] = {"part": _NO_PART}

_SECRETS: Final = (
    (re.compile(r"(://[^:/@\s]*):\S*@"), r"\1:***@"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s,;'\"]+", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"([?&](?:password|token|key|secret)=)[^&\s]*", re.IGNORECASE), r"\1***"),
)
_ROWS: Final = re.compile(r"(DETAIL:\s+Failing row contains ).*")  # PostgreSQL shows the row, and so its text
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")  # all but the newline


def chosen() -> LogFormat:
    """What the environment asks for; text for what is no format, which the settings refuse."""
    given = os.environ.get(VARIABLE, "").strip()
    return "json" if given == "json" else "text"


def set_up(part: str, **fields: object) -> None:
    """From now on this process logs to stderr in the form that is chosen; what it was set up with before is gone.

    `part` is api, worker, supervisor, flower, migrations; `fields` go with each record: worker.
    """
    _process.clear()
    _process.update({"part": part, **fields})
    stream = sys.stderr
    if isinstance(stream, _Printed):  # set up again
        stream = stream.stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if chosen() == "json" else TextLines())
    if chosen() == "json":
        sys.stdout = sys.stderr = _Printed(stream, part)
        sys.__stdout__ = sys.__stderr__ = _Original(stream, part)  # type: ignore[misc, assignment]
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # a line for each, at every start
    sys.excepthook = _unforeseen
    threading.excepthook = _unforeseen_in_thread


def is_set_up() -> bool:
    return _process["part"] != _NO_PART


def of_process(**fields: object) -> None:
    """What every record of this process says from now on, too."""
    _process.update(fields)


def begin(**fields: object) -> None:
    """What records of this task or thread say from now on, in place of what they said before."""
    _context.set(_given(fields))


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """What records say within the block, beside what they say anyway. None: nothing new."""
    token = _context.set({**_context.get(), **_given(fields)})
    try:
        yield
    finally:
        _context.reset(token)


def add(**fields: object) -> None:
    """What records of this task or thread say from now on, beside what they say anyway."""
    _context.set({**_context.get(), **_given(fields)})


def current(name: str) -> str | None:
    """What records say of this now."""
    found = _context.get().get(name)
    return None if found is None else str(found)


def end_logged(error: Exception) -> NoReturn:
    """Ends the process as `end_with` does; where logs are JSON, its last line is a record too."""
    if chosen() == "text":
        end_with(error)
    if not is_set_up():
        set_up(_NO_PART)
    known = as_unembed_error(error)
    foreign = error if known is not error else None
    log.critical("%s", known.message, exc_info=foreign, extra={"error_code": known.code})
    sys.exit(known.exit_code)


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, logger, message, part, process, pid, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _without_secrets(_message(record)),
            "process": record.processName,
            "pid": record.process,
        }
        said |= _process | _fields(record) | tracing.ids()  # the context may name another part: the sweeper is a thread
        if trace := _trace(record):
            said["exception"] = _without_secrets(trace)
        return json.dumps(said, default=str)  # ASCII: no character in it ends a line


class TextLines(logging.Formatter):
    """A line a record, for reading; what follows of it is indented, so that it does not pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        shown = " ".join(f"{name}={fields[name]}" for name in _SHOWN if name in fields)
        what = [_message(record), *([f"[{shown}]"] if shown else [])]
        head = f"{_time(record.created)} {record.levelname:<7} {record.processName} {record.name}:"
        lines = " ".join([head, *what])
        if trace := _trace(record):
            lines += f"\n{trace}"
        return _CONTROL.sub(_escaped, _without_secrets(lines)).replace("\n", "\n    ")


class _Printed(io.TextIOBase):
    """Stands where stdout and stderr were: what is printed becomes records."""

    def __init__(self, stream: TextIO, part: str) -> None:
        self.stream = stream
        self._part = part
        self._begun = ""

    def write(self, text: str, /) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self.stream.write(f"{as_record(line, self._part)}\n")
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()


class _Original(_Printed):
    """Stands where they were kept. Celery writes its parting words past them, into their file: there is none."""

    def fileno(self) -> int:
        return None  # type: ignore[return-value]


def as_record(line: str, part: str) -> str:
    """A line that a part of ours wrote, as a JSON record: the record that it is, or one that holds it.

    Redis logs in a form of its own, and a library, or the system, may write what no logger sees.
    """
    if line.startswith("{"):
        try:
            if isinstance(found := json.loads(line), dict) and "message" in found:
                return line
        except ValueError:
            pass
    level, message = _of_redis(line) if part == "redis" else ("info", line)
    said = {"time": _time(time.time()), "level": level, "logger": f"{part}.output"}
    return json.dumps({**said, "message": _without_secrets(message), "part": part.partition("-")[0]})


_REDIS: Final = re.compile(r"\d+:[XCSM] .{11,12} [\d:.]+ ([.\-*#]) (.*)")
_REDIS_LEVELS: Final = {".": "debug", "-": "debug", "*": "info", "#": "warning"}


def _of_redis(line: str) -> tuple[str, str]:
    found = _REDIS.fullmatch(line)
    return (_REDIS_LEVELS[found[1]], found[2]) if found else ("info", line)


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _time(seconds: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    own: dict[str, object] = {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
    found: dict[str, object] = {**_context.get(), **_access(record), **own}
    return {name: value for name, value in found.items() if value is not None}


def _message(record: logging.LogRecord) -> str:
    if access := _access(record):
        return f"{access['client']} {access['method']} {access['path']} {access['status']}"
    return record.getMessage()


def _access(record: logging.LogRecord) -> dict[str, object]:
    """What uvicorn says of a request. A query's values are left out: what is searched for may be a text."""
    if record.name != "uvicorn.access" or not isinstance(record.args, tuple) or len(record.args) != 5:
        return {}
    client, method, path, _, status = record.args
    return {"client": client, "method": method, "path": names_alone(str(path)), "status": status}


def names_alone(path: str) -> str:
    """A path whose query has names, and no values."""
    path, mark, query = path.partition("?")
    return path + mark + "&".join(f"{each.partition('=')[0]}=***" for each in query.split("&") if each)


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")


def _without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return _ROWS.sub(r"\1***", text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("this process ends: %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _unforeseen_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
        name = what.thread.name if what.thread else "unknown"
        log.critical("the thread %s ends", name, exc_info=(what.exc_type, what.exc_value, what.exc_traceback))
