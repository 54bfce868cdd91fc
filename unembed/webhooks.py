"""Webhooks as Standard Webhooks describe them: what a job's client asks for, and how what is sent is signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, field_validator
from pydantic_core import PydanticCustomError

from unembed.choices import Choices
from unembed.errors import InputError

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = range(24, 65)
_PORTS: Final = range(1, 65_536)
# What stands for an IPv4 address, which may be a private one: NAT64, 6to4, Teredo.
_WITHIN_OTHERS: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


class Webhook(Choices):
    """Where the end of a job is told."""

    url: Annotated[
        str, Field(max_length=2000, description="An `https://` URL that takes a POST when the job has ended")
    ]
    secret: Annotated[
        SecretStr,
        Field(
            max_length=200,
            description="What it is signed with: `whsec_` and 24 to 64 random bytes in base64; it is never shown again",
        ),
    ]

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            is_plain = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port in (None, *_PORTS)
        except ValueError:
            is_plain = False
        if not is_plain or parts.username is not None or not (url.isascii() and url.isprintable()) or " " in url:
            raise PydanticCustomError("webhook_url", "a URL such as https://example.org/hook, without a password")
        return url

    @field_serializer("secret", when_used="json")
    def _sent(self, secret: SecretStr) -> str:
        return secret.get_secret_value()

    @field_validator("secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr) -> SecretStr:
        key = key_of(secret.get_secret_value())
        if key is None or len(key) not in _SECRET_BYTES:
            raise PydanticCustomError("webhook_secret", "whsec_ and 24 to 64 bytes in base64")
        return secret


class WebhookState(BaseModel):
    """What became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    event: str | None = None  # `webhook-id` of the last message; none before the job has ended
    attempts: int = 0
    next_at: datetime | None = None  # when it is tried (again)
    delivered_at: datetime | None = None
    error: str | None = None  # why the last attempt failed


def key_of(secret: str) -> bytes | None:
    """The bytes of a secret; None for one that is not readable."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True) if secret.startswith(_PREFIX) else None
    except (binascii.Error, ValueError):
        return None


def signature(secret: str, event: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    key = key_of(secret)
    assert key is not None, "it was checked when it came"
    signed = hmac.new(key, f"{event}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def require_allowed(url: str, private_hosts: Collection[str]) -> None:
    """InputError for what is known, without asking anybody, to be no place to send to."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {each.lower() for each in private_hosts}:
        return
    if parts.scheme != "https":
        raise InputError(f"the webhook's URL is {url!r}; expected one that begins with https://")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if not is_public(str(address)):
        raise InputError(f"the webhook's URL is {url!r}, which is no public address; expected one")


def is_public(address: str) -> bool:
    """Whether an address is anybody's on the internet, and stands for no other one that is not."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif any(found in network for network in _WITHIN_OTHERS):
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved
