"""A worker's main process: it takes messages, runs the sweeper, and never imports torch (the child does)."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from celery.signals import worker_ready, worker_shutting_down
from redis.backoff import NoBackoff
from redis.retry import Retry

from unembed import tracing
from unembed.errors import MissingExtraError
from unembed.models import logs
from unembed.models.redis_client import open_redis
from unembed.models.settings import read_settings
from unembed.threads import wait_without_spinning
from unembed.worker import lost_processes
from unembed.worker.celery import QUEUE, make_app
from unembed.worker.context import Context, open_context
from unembed.worker.liveness import is_deaf
from unembed.worker.process import CANNOT_WORK, HAND_BACK, tell_those_who_wait
from unembed.worker.stillborn import MOST, Stillborn
from unembed.worker.supervisor import INCAPABLE
from unembed.worker.sweeper import Sweeper
from unembed.worker.webhooks import Messenger

log = logging.getLogger(__name__)


def run(name: str | None = None) -> int:
    """Works until told to stop; the exit code, INCAPABLE when this machine lacks what it needs.

    `name` is the part before @HOST and must be unique on this host.

    Raises MissingExtraError where torch is not installed.
    """
    node = f"{name or default_name()}@{socket.gethostname()}"
    logs.set_up("worker", worker=node)
    if find_spec("torch") is None:
        raise MissingExtraError.of("torch", "worker")
    wait_without_spinning()
    settings = read_settings()
    tracing.set_up("unembed-worker", **{"service.instance.id": f"{node}/main"})
    context = open_context(settings, node, os.getpid())
    lost_processes.reclaim_from_predecessor(context)
    lost_processes.watch_children(context)
    main_process = _MainProcess(context)
    worker_ready.connect(main_process.on_ready)
    worker_shutting_down.connect(main_process.on_shutting_down)
    signal.signal(CANNOT_WORK, lambda *_: main_process.on_cannot_work())
    # Not by Celery's command line, whose import takes as long as that of the worker itself.
    worker = make_app(settings).Worker(
        hostname=node,
        queues=QUEUE,
        loglevel="INFO",
        task_events=settings.events,
        without_heartbeat=not settings.events,
        without_gossip=True,
        without_mingle=True,
        quiet=logs.chosen() == "json",
    )
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)  # with it, a child logs in a form of its own before it is set up
    try:
        worker.start()
    except SystemExit as ended:
        if ended.code:
            return int(ended.code)
    finally:
        log.info("this worker has ended")
        tracing.flush()
    if worker.exitcode:
        return int(worker.exitcode)
    return INCAPABLE if main_process.cannot_work else 0


def default_name() -> str:
    """The same at every start, so that Flower's and Prometheus's labels stay few."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"gpu{gpu}" if gpu else "worker"


class _MainProcess:
    """What happens in the main process beside Celery."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ended = threading.Event()
        self._sweeper: threading.Thread | None = None
        self.cannot_work = False
        self._children: Callable[[], list[int]] = list
        self._stillborn = Stillborn(lambda: context.store.workers.has_claimed(context.name))

    def on_ready(self, sender: Any, **_: Any) -> None:
        """Celery says so again after each reconnection."""
        pool = sender.pool
        self._children = lambda: list(pool.info["processes"])
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
            self._sweeper.start()
            threading.Thread(target=self._tell, name="webhooks", daemon=True).start()

    def on_cannot_work(self) -> None:
        """In a signal handler. The child has said why, in the log."""
        self.cannot_work = True

    def on_shutting_down(self, **_: Any) -> None:
        """In a signal handler: no locks, nothing slow."""
        self._ended.set()
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, HAND_BACK)

    def _sweep(self) -> None:
        logs.begin(part="sweeper")
        context, settings = self._context, self._context.settings
        once = Retry(NoBackoff(), 0)  # the next sweep is soon enough
        queue = open_redis(settings.redis_url, socket_connect_timeout=5, socket_timeout=30, retry=once)
        sweeper = Sweeper(
            context.store,
            queue,
            context.payloads,
            context.publish,
            name=context.name,
            interval=settings.sweep_interval,
            parts=context.parts,
            feed=context.feed,
        )
        sweeper.run(self._ended, self._show_life)

    def _tell(self) -> None:
        logs.begin(part="webhooks")
        context, settings = self._context, self._context.settings
        Messenger(context.store, settings.webhook_hosts).run(self._ended, settings.sweep_interval)

    def _show_life(self) -> None:
        """Raises StoreUnavailableError."""
        self._context.check_in()
        if self._stillborn.are_too_many(self._children()):
            why = f"the process that decodes died {MOST} times before it was ready"
            log.critical("%s", why)
            tell_those_who_wait(self._context, why)
            os._exit(INCAPABLE)
        if is_deaf(self._context.store, self._context.name):
            log.critical("batches are waiting, but none of them reach this worker; it ends, to be started again")
            os._exit(1)  # at once: it runs nothing, and what does not listen may not hear a signal either
