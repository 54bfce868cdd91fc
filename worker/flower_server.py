"""Flower, as `unembed flower` and `unembed up` run it: the package's own server and pages, with other defaults.

    reads only       its buttons act on Celery's messages and pools, not on batches; FLOWER_READ_ONLY=false brings them
    stays at home    beyond loopback only behind a password, /metrics too; without one, only by a name of this machine
    has its history  from SQL; Flower's own way to keep it, a pickle, is refused
    has an API       without a password too, while it only reads

`python -m unembed.worker.flower_server PORT [when-let-go]` is how `unembed up` starts it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from unembed.errors import InputError, UnembedError
from unembed.home import is_loopback
from unembed.quick_imports import quick_imports

with quick_imports():
    from flower.app import Flower
    from flower.command import apply_env_options, extract_settings, setup_logging
    from flower.options import options
    from flower.urls import settings as tornado_settings
    from flower.utils import prepend_url
    from flower.views import BaseHandler
    from flower.views.monitor import Metrics
    from tornado.httputil import HTTPHeaders
    from tornado.ioloop import PeriodicCallback
    from tornado.web import HTTPError, OutputTransform, authenticated

    from unembed.models import logs
    from unembed.models.database import open_engine
    from unembed.models.secret_files import in_file
    from unembed.models.settings import read_settings
    from unembed.models.store import Store
    from unembed.worker import flower_history
    from unembed.worker.celery import make_app
    from unembed.worker.supervisor import WHEN_LET_GO

log = logging.getLogger(__name__)

_MENDS_EVERY: Final = 15.0  # seconds

DEFAULTS: Final[dict[str, Any]] = {
    "address": "127.0.0.1",
    "read_only": True,
    "max_tasks": 20_000,  # a page of the list takes Flower a time that grows with it
    "tasks_columns": "uuid,state,args,kwargs,worker,received,runtime,exception,result,name",
    "purge_offline_workers": 86_400,  # seconds after which a worker that is gone leaves the list, and the metrics
    "task_runtime_metric_buckets": [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0],
}

_REFUSED: Final = {
    "persistent": "what Flower keeps would be a pickle, which runs code when it is read. It has its history from the "
    "database without it",
    "conf": "it would be run as Python code. Each of Flower's options has a FLOWER_* variable",
}


def serve(given: Mapping[str, Any]) -> None:
    """Serves until TERM or Ctrl-C. `given`: Flower's own options, by name; others come from FLOWER_* variables.

    Raises InputError for an option that is wrong or refused, and SettingsError.
    """
    logs.set_up("flower")
    choose_options(given)
    settings = read_settings()
    extract_settings()
    setup_logging()
    with open_engine(settings.database_url) as engine:
        server = FlowerServer(Store(engine, settings), capp=make_app(settings), options=options, **tornado_settings)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        port = server.start_http_server()
        log.info("Flower answers at http://%s:%s%s", options.address, port, _prefix())
        try:
            server.start()
        except (KeyboardInterrupt, SystemExit):
            pass
        finally:
            server.stop()


class FlowerServer(Flower):  # type: ignore[misc]
    """Flower's server, which shows the store's attempts from the start; `more` is what Flower takes."""

    def __init__(self, store: Store, **more: Any) -> None:
        super().__init__(**more)
        self._store = store
        self._mending = PeriodicCallback(self._mend, _MENDS_EVERY * 1000)
        if _has_password():
            self.add_handlers(r".*", [(f"{_prefix()}/metrics", _MetricsBehindPassword)])
        else:
            self.add_transform(_ForThisSite)
            self.add_handlers(_NOT_OF_THIS_MACHINE, [(r".*", _Refused)])

    def start(self) -> None:
        self._remember()
        self._mending.start()
        super().start()

    def _remember(self) -> None:
        try:
            attempts = self._store.attempts.latest(options.max_tasks)
        except UnembedError as error:
            log.warning("Flower shows only what happens from now on: %s", error)
        else:
            flower_history.replay(self.events.state, reversed(attempts))
            log.info("%d attempts are shown from the database", len(attempts))

    async def _mend(self) -> None:
        if not (shown := flower_history.running(self.events.state)):
            return
        try:
            found = await self.io_loop.run_in_executor(None, flower_history.look_up, self._store, shown)
        except UnembedError as error:
            log.warning("what runs could not be looked up: %s", error)
        else:
            flower_history.mend(self.events.state, shown, found)


class _MetricsBehindPassword(Metrics):  # type: ignore[misc]
    @authenticated
    async def get(self) -> None:
        await super().get()


_NOT_OF_THIS_MACHINE: Final = r"(?!(localhost|127(\.\d+){3}|\[::1\]|::1)$).*"


class _Refused(BaseHandler):  # type: ignore[misc]
    """A page elsewhere that reaches loopback by a name of its own (DNS rebinding), or a proxy."""

    def prepare(self) -> None:
        raise HTTPError(403, "without a password Flower answers only by a name of this machine: set FLOWER_BASIC_AUTH")


class _ForThisSite(OutputTransform):
    """Flower lets pages of any site read an API without a password. Not ours."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name in [name for name in headers if name.startswith("Access-Control-")]:
            del headers[name]
        return status_code, headers, chunk


def choose_options(given: Mapping[str, Any]) -> None:
    """Sets Flower's options, which are global: `given`, or FLOWER_* variables, or our defaults.

    Raises InputError, and SettingsError for a FLOWER_BASIC_AUTH_FILE without a password.
    """
    for name, value in DEFAULTS.items():
        setattr(options, name, value)
    before = {name: getattr(options, name) for name in _REFUSED}
    try:
        apply_env_options()
    except (ValueError, KeyError) as error:
        raise InputError(f"one of the variables FLOWER_* has a value that Flower does not take: {error}") from None
    if (password := in_file("FLOWER_BASIC_AUTH")) is not None:
        options.basic_auth = [password]
    for name, value in given.items():
        setattr(options, name, value)
    for name, why in _REFUSED.items():
        if getattr(options, name) != before[name]:
            raise InputError(f"Flower's option {name!r} (FLOWER_{name.upper()}) is refused: {why}")
    if not (_has_password() or options.unix_socket or is_loopback(options.address)):
        raise InputError(
            f"Flower would answer on {options.address or 'every address'} without a password: "
            "set FLOWER_BASIC_AUTH=USER:PASSWORD, or let it answer on a loopback address such as 127.0.0.1"
        )
    if options.read_only:
        os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "true")  # only whoever may see the pages sees it


def _prefix() -> str:
    return prepend_url("", options.url_prefix) if options.url_prefix else ""


def _has_password() -> bool:
    return bool(options.basic_auth or options.auth)


if __name__ == "__main__":
    try:
        if WHEN_LET_GO in sys.argv:
            sys.stdin.read()
        serve({"address": "127.0.0.1", "port": int(sys.argv[1])})
    except Exception as error:
        logs.end_logged(error)
