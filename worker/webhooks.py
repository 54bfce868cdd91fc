"""Tells those who asked that their jobs have ended: signed, again and again until it is taken, and never to a private
address, by whatever name or redirect.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx2

from unembed.errors import InputError, NotFoundError, UnavailableError
from unembed.models.store import DueWebhook, Store
from unembed.webhooks import is_public, require_allowed, signature

log = logging.getLogger(__name__)

_AT_ONCE: Final = 20
_WITHIN: Final = 15.0  # seconds for an answer
_GONE: Final = 410  # whoever says so wants no more of them

Resolve = Callable[[str, int], Sequence[str]]  # the addresses of a name


class _NotSentError(Exception):
    """Nothing may be sent there, or nothing could be."""


def resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Messenger:
    """Sends what is due. `private_hosts` may be reached by http:// too, and at whatever address they have."""

    def __init__(
        self,
        store: Store,
        private_hosts: Sequence[str],
        *,
        resolve: Resolve = resolve,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._store = store
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._resolve = resolve
        # No redirects: one could lead to where nothing may be sent. No proxies: they would resolve the name again.
        self._http = httpx2.Client(timeout=_WITHIN, follow_redirects=False, trust_env=False, transport=transport)

    def send_due(self) -> int:
        """Those whose time has come; how many were taken. Raises UnavailableError."""
        taken = 0
        for due in self._store.webhooks.take_due(_AT_ONCE):
            try:
                status = self._post(due)
            except NotFoundError:
                continue  # the job was removed just now, or goes on
            except _NotSentError as error:
                self._fail(due, str(error))
                continue
            if 200 <= status < 300:
                self._store.webhooks.delivered(due)
                taken += 1
            else:
                self._fail(due, f"it answered {status}; expected 2xx", final=status == _GONE)
        return taken

    def _fail(self, due: DueWebhook, why: str, *, final: bool = False) -> None:
        log.warning("the webhook of job %s failed, attempt %d: %s", due.job_id, due.attempts, why)
        self._store.webhooks.failed(due, why, final=final)

    def _post(self, due: DueWebhook) -> int:
        try:
            require_allowed(due.url, self._private_hosts)  # again: the setting may be another by now
        except InputError as error:
            raise _NotSentError(error.message) from error
        parts = urlsplit(due.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = self._address(host, port)
        body, timestamp = self._body(due), int(time.time())
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "webhook-id": due.event,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(due.secret, due.event, timestamp, body),
        }
        # To the address that was looked at, and no other: a name may mean another one a moment later.
        url = httpx2.URL(due.url).copy_with(host=address)
        try:
            with self._http.stream(
                "POST", url, content=body, headers=headers, extensions={"sni_hostname": host}
            ) as answer:
                return answer.status_code
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise _NotSentError(f"it cannot be reached: {error or type(error).__name__}") from error

    def _address(self, host: str, port: int) -> str:
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise _NotSentError(f"{host} has no address: {error.strerror or error}") from error
        if host not in self._private_hosts:
            for address in addresses:
                if not is_public(address):
                    raise _NotSentError(f"{host} has the address {address}, which is not public")
        if not addresses:
            raise _NotSentError(f"{host} has no address")
        return addresses[0]

    def _body(self, due: DueWebhook) -> bytes:
        job = self._store.jobs.get(due.job_id)
        if not job.state.is_ended:
            raise NotFoundError("it goes on, by a retry: its next end is told")
        told = job.model_dump(mode="json", include={"id", "state", "name", "labels", "rows", "error", "finished_at"})
        event = {"type": f"job.{job.state}", "timestamp": told["finished_at"], "data": told}
        return json.dumps(event).encode()

    def run(self, ended: threading.Event, interval: float) -> None:
        while not ended.wait(interval):
            try:
                self.send_due()
            except UnavailableError as error:
                log.debug("webhooks wait: %s", error)  # the sweeper says so already
            except Exception:
                log.exception("webhooks could not be sent; the next attempt is in %.1f s", interval)
        self._http.close()
