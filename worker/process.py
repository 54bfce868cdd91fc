"""The child process that decodes: what it opens when it starts, and how it is told to hand its batch back.

    TERM ─▶ main process ─▶ HAND_BACK ─▶ child     the usual shutdown: the child finishes its micro-batch, gives the
                                                   batch back, and the main process ends when nothing runs any more
    TERM ─▶ child                                  sent to the whole group, by the pool, or at the time limit: the same
                                                   while a batch runs; without one it ends the child, as it always does

A child that does not come to the end of its micro-batch is killed later; then its lease runs out.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from unembed import tracing
from unembed.errors import UnavailableError, UnembedError
from unembed.models import logs
from unembed.models.settings import read_settings
from unembed.worker import runtime
from unembed.worker.context import Context, open_context

log = logging.getLogger(__name__)

# Ignored by default: a child that is not set up yet survives it. Celery and billiard leave it alone.
HAND_BACK: Final = signal.SIGURG

CANNOT_WORK: Final = HAND_BACK  # the same signal, but from the child to its main process: why the TERM follows

_opened: list[Context] = []


def context() -> Context:
    """This process's context; there is one once the child has started."""
    return _opened[0]


@worker_process_init.connect  # type: ignore[untyped-decorator]
def start(sender: str, **_: Any) -> None:
    """Called in the child, with the worker's name, before it takes its first batch."""
    logs.of_process(worker=sender)
    settings = read_settings()
    opened = open_context(settings, sender, os.getppid())
    tracing.set_up("unembed-worker", **{"service.instance.id": sender})
    _opened[:] = [opened]
    signal.signal(HAND_BACK, lambda *_: opened.stopping.set())
    try:
        runtime.prepare(
            settings.device, settings.precision, settings.threads
        )  # now, so that the first batch does not wait for it
    except UnembedError as error:
        log.critical("%s", error)
        tell_those_who_wait(opened, error.message)
        # Rather than take batches that it would only fail.
        os.kill(os.getppid(), CANNOT_WORK)
        os.kill(os.getppid(), signal.SIGTERM)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def end(**_: Any) -> None:
    """Called in the child when it ends in order."""
    for opened in _opened:
        opened.feed.flush()
    tracing.flush()


def tell_those_who_wait(opened: Context, why: str) -> None:
    """This worker cannot work, and ends: whoever waits for a job learns it from SQL."""
    try:
        opened.store.workers.ended(opened.name, socket.gethostname(), opened.pid, why)
    except UnavailableError as error:
        log.warning("the database could not be told: %s", error)


@setup_logging.connect  # type: ignore[untyped-decorator]
def keep_our_logs(**_: Any) -> None:
    """Instead of Celery's own. The main process has set them up already; the child, spawned, has not."""
    if not logs.is_set_up():
        logs.set_up("worker")


@contextmanager
def hands_back_on_sigterm() -> Iterator[None]:
    """TERM means what HAND_BACK means while the block runs. For each batch anew: billiard sets TERM after `start`."""
    before = signal.signal(signal.SIGTERM, lambda *_: context().stopping.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
