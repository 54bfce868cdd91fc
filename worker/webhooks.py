"""Tells those who asked that their jobs have ended: signed, again and again until it is taken, and never to a private
address, by whatever name or redirect.
"""

from __future__ import annotations

import asyncio
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
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._store = store
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._resolve = resolve
        self._transport = transport

    def send_due(self) -> int:
        """Those whose time has come; how many were taken. Raises UnavailableError."""
        taken = 0
        for _ in range(_AT_ONCE):
            # One at a time: it is nobody else's for a while, in which others would be waited for.
            due = self._store.webhooks.take_due()
            if due is None:
                break
            taken += self._is_taken(due)
        return taken

    def _is_taken(self, due: DueWebhook) -> bool:
        try:
            status = self._post(due)
        except NotFoundError:
            return False  # the job was removed just now, or goes on
        except _NotSentError as error:
            self._fail(due, str(error))
            return False
        if not 200 <= status < 300:
            self._fail(due, f"it answered {status}; expected 2xx", final=status == _GONE)
            return False
        self._store.webhooks.delivered(due)
        return True

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
            return asyncio.run(asyncio.wait_for(self._answer(url, body, headers, host), _WITHIN))
        except TimeoutError as error:
            raise _NotSentError(f"it did not answer within {_WITHIN:g} s") from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise _NotSentError(f"it cannot be reached: {str(error) or type(error).__name__}") from error

    async def _answer(self, url: httpx2.URL, body: bytes, headers: dict[str, str], host: str) -> int:
        """Its status; the rest is not read. Asynchronous, so that it can be ended, however slowly it comes."""
        # No redirects: one could lead to where nothing may be sent. No proxies: they would resolve the name again.
        async with httpx2.AsyncClient(
            timeout=_WITHIN, follow_redirects=False, trust_env=False, transport=self._transport
        ) as http:
            request = http.build_request("POST", url, content=body, headers=headers, extensions={"sni_hostname": host})
            answer = await http.send(request, stream=True)
            await answer.aclose()
            return answer.status_code

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
