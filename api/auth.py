"""Who may come in: anyone on this machine while there are no keys; elsewhere only who holds one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from unembed.api import problems
from unembed.api.deps import Deps
from unembed.errors import AuthError, InputError
from unembed.home import is_loopback
from unembed.models.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="Needed when the server has API keys (UNEMBED_API_KEYS).")


def refuse_to_be_exposed(settings: Settings) -> None:
    """InputError when others could reach the server and no key would stop them."""
    if not settings.api_keys and not is_loopback(settings.host):
        raise InputError(
            f"refusing to listen on {settings.host} without API keys, for anyone could then submit and read jobs: "
            "set UNEMBED_API_KEYS (comma-separated), or UNEMBED_HOST to a loopback address such as 127.0.0.1"
        )


async def client_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    """Who asks: a digest of the API key, or "" where none is needed.

    AuthError for a missing or wrong key; BusyError for a client that has asked too often of late.
    """
    deps: Deps = request.app.state.deps
    client = _known(credentials, deps.settings)
    if deps.settings.max_client_requests is not None:
        deps.rates.take(client, deps.settings.max_client_requests)
    return client


def _known(credentials: HTTPAuthorizationCredentials | None, settings: Settings) -> str:
    if not settings.api_keys:
        return ""
    if credentials is None:
        raise AuthError("this server needs an API key, and the request has none: send `Authorization: Bearer <key>`")
    if not _is_known(credentials.credentials, settings.api_keys):
        raise AuthError("the API key of this request is not one of the server's")
    return hashlib.sha256(credentials.credentials.encode()).hexdigest()


def _is_known(key: str, known: Sequence[SecretStr]) -> bool:
    # All are compared, and in constant time each, so that the time taken says nothing about any.
    matches = [hmac.compare_digest(key.encode(), each.get_secret_value().encode()) for each in known]
    return any(matches)


Client = Annotated[str, Depends(client_of)]


class LoopbackOnly:
    """ASGI middleware for a server without keys: answers only to this machine, and only by a name of this machine.

    The address guards against a socket opened more widely than `Settings.host` says (`uvicorn --host`); the name
    against web pages that reach loopback through a name of their own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (_arrived_on_loopback(scope) and _named_loopback(scope)):
            await self.app(scope, receive, send)
            return
        error = AuthError("this server has no API keys and answers only on a loopback address: set UNEMBED_API_KEYS")
        await problems.of_error(scope["path"], error)(scope, receive, send)


def _arrived_on_loopback(scope: Scope) -> bool:
    server = scope.get("server")
    return server is None or server[1] is None or is_loopback(server[0])  # without a port it is a unix socket


def _named_loopback(scope: Scope) -> bool:
    name = Headers(scope=scope).get("host", "localhost")
    return is_loopback(name.partition("]")[0] if name.startswith("[") else name.partition(":")[0])
