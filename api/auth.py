"""Who may come in: anyone on this machine while there are no keys; elsewhere only who holds one."""

from __future__ import annotations

from pathlib import Path

from anyio import to_thread
from sqlalchemy import URL
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from unembed.api import problems
from unembed.api.deps import Deps
from unembed.api.keyring import Keyring
from unembed.errors import AuthError, InputError, StoreUnavailableError, UnembedError
from unembed.home import is_loopback


def refuse_to_be_exposed(deps: Deps) -> None:
    """InputError when others could reach the server and no key would stop them."""
    settings = deps.settings
    if settings.api_keys or is_loopback(settings.host):
        return
    try:
        if _may_be_asked(deps.engine.url) and deps.store.keys.are_any():
            return
        why = ""
    except StoreUnavailableError as error:
        why = f" (whether the database has one cannot be asked: {error.message})"
    raise InputError(
        f"refusing to listen on {settings.host} without API keys, for anyone could then submit and read jobs{why}: "
        "make one with `unembed keys add NAME`, or set UNEMBED_API_KEYS (comma-separated), or UNEMBED_HOST to a "
        "loopback address such as 127.0.0.1"
    )


def _may_be_asked(url: URL) -> bool:
    """Not where it would be made by that: SQLite's file."""
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


class LoopbackOnly:
    """ASGI middleware for a server without keys: answers only to this machine, and only by a name of this machine.

    The address guards against a socket opened more widely than `Settings.host` says (`uvicorn --host`); the name
    against web pages that reach loopback through a name of their own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self.app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (_arrived_on_loopback(scope) and _named_loopback(scope)):
            await self.app(scope, receive, send)
            return
        try:
            if await to_thread.run_sync(self._keyring.are_any):  # the key says who may come in
                await self.app(scope, receive, send)
                return
            error: UnembedError = AuthError(
                "this server has no API keys and answers only on a loopback address: set UNEMBED_API_KEYS, or make one "
                "with `unembed keys add NAME`"
            )
        except StoreUnavailableError as unavailable:
            error = unavailable
        await problems.of_error(scope["path"], error)(scope, receive, send)


def _arrived_on_loopback(scope: Scope) -> bool:
    server = scope.get("server")
    return server is None or server[1] is None or is_loopback(server[0])  # without a port it is a unix socket


def _named_loopback(scope: Scope) -> bool:
    name = Headers(scope=scope).get("host", "localhost")
    return is_loopback(name.partition("]")[0] if name.startswith("[") else name.partition(":")[0])
