"""Who makes a request: what they may do, whose jobs they see, and their limits."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from unembed.api.deps import Deps, Needs
from unembed.errors import AuthError, ForbiddenError
from unembed.models.settings import Settings
from unembed.models.store import ApiKey, ClientLimits
from unembed.models.store.keys import digest_of
from unembed.schemas import KeyRole

NOBODY: Final = ""  # the client of jobs that were submitted while there were no keys

_bearer = HTTPBearer(
    auto_error=False, description="Needed when there are API keys, by `unembed keys add` or UNEMBED_API_KEYS."
)


@dataclass(frozen=True)
class Caller:
    """An API key, or anybody where there are none."""

    client: str  # whose jobs those are that it submits
    role: KeyRole
    limits: ClientLimits
    sees: frozenset[str] | None = None  # the clients whose jobs there are for it; None: all
    secret: str | None = field(default=None, repr=False)  # what it came with


def caller_of(deps: Needs, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """AuthError for a missing or wrong key; BusyError for a client that has asked too often of late."""
    return admitted(deps, None if credentials is None else credentials.credentials)


def admitted(deps: Deps, secret: str | None) -> Caller:
    """Who holds this key. Raises as `caller_of` does."""
    caller = _identified(deps, secret)
    if caller.limits.requests is not None:
        deps.rates.take(caller.client, caller.limits.requests)
    return caller


def require_still(deps: Deps, caller: Caller) -> None:
    """AuthError when its key was revoked since, or may do something else. For answers that take long: to ask this again
    and again costs a look at the database every other second at most."""
    if _identified(deps, caller.secret) != caller:
        raise AuthError("what the API key of this request may do has changed meanwhile; make the request again")


def _identified(deps: Deps, secret: str | None) -> Caller:
    return replace(_known(deps, secret), secret=secret)


def _known(deps: Deps, secret: str | None) -> Caller:
    settings = deps.settings
    if secret is not None and _is_of_settings(secret, settings):
        client = digest_of(secret)
        # Its own jobs, and those from before there were keys.
        return Caller(client, KeyRole.SUBMITTER, _limits(settings), frozenset({client, NOBODY}))
    if not settings.api_keys and not deps.keyring.are_any():
        return Caller(NOBODY, KeyRole.ADMIN, _limits(settings))
    if secret is None:
        raise AuthError("this server needs an API key, and the request has none: send `Authorization: Bearer <key>`")
    key = deps.keyring.find(secret)
    if key is None:
        raise AuthError("the API key of this request is not one of the server's, or it was revoked")
    return _holder_of(key, settings)


def _is_of_settings(secret: str, settings: Settings) -> bool:
    # All are compared, and in constant time each, so that the time taken says nothing about any.
    matches = [hmac.compare_digest(secret.encode(), each.get_secret_value().encode()) for each in settings.api_keys]
    return any(matches)


def _holder_of(key: ApiKey, settings: Settings) -> Caller:
    sees = None if key.role is KeyRole.ADMIN else frozenset({key.client})
    return Caller(key.client, key.role, _limits(settings, key.limits), sees)


def _limits(settings: Settings, own: ClientLimits = ClientLimits()) -> ClientLimits:  # noqa: B008 - it is frozen
    """A key's own, and where it has none those of all keys."""
    return ClientLimits(
        rows=settings.max_client_rows if own.rows is None else own.rows,
        bytes=settings.max_client_bytes if own.bytes is None else own.bytes,
        requests=settings.max_client_requests if own.requests is None else own.requests,
    )


Reader = Annotated[Caller, Depends(caller_of)]


def _submitter(caller: Reader) -> Caller:
    return require_submitter(caller)


def require_submitter(caller: Caller) -> Caller:
    """ForbiddenError for one who may only read."""
    if caller.role is KeyRole.READER:
        raise ForbiddenError("the key of this request may only read: expected one of the role submitter or admin")
    return caller


Submitter = Annotated[Caller, Depends(_submitter)]
