"""The URL of a Redis, in one spelling: redis-py and kombu each read something else of the same URL, or nothing.

redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
rediss://...[?ssl_cert_reqs=required|optional|none&ssl_ca_certs=FILE...]        the same over TLS
unix://[[USER]:PASSWORD@]/PATH[?db=DB]                                          a socket
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

_EXPECTED: Final = "expected redis://, rediss:// or unix://"
_CHECKS: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS: Final = ("ssl_cert_reqs", "ssl_check_hostname", *_FILES)
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def canonical(url: str) -> str:
    """The URL in the spelling of this module; kombu's `redis+socket://` and `CERT_NONE` are known too.

    Raises ValueError, which says what was found without showing a secret.
    """
    given, separator, rest = url.partition("://")
    scheme = given.lower()
    if not separator:
        raise ValueError(f"it has no scheme; {_EXPECTED}")
    for kind in ("sentinel", "cluster"):
        if kind in scheme:
            raise ValueError(f"Redis {kind.title()} is not supported; name one server, as redis://HOST:6379/0")
    if scheme == "redis+socket":
        scheme = "unix"
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"it begins with {given + separator!r}; {_EXPECTED}")
    parts = _split(scheme, rest)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    netloc = parts.netloc
    if scheme == "unix":
        options = {"db" if name == "virtual_host" else name: value for name, value in options.items()}
        netloc = _who(options) or netloc
    _check(scheme, options)
    query = urlencode(options, safe="/")
    return f"{scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


def for_broker(url: str) -> tuple[str, dict[str, Any] | None]:
    """The URL as kombu and Flower want it, and Celery's `broker_use_ssl`: None without TLS.

    kombu's own default over TLS is to check no certificate; here it is to check, as it is in redis-py.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    database = options.get("db", "")
    if parts.scheme == "unix":
        return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database or 0}", None
    path = f"/{database}" if database else parts.path
    plain = f"{parts.scheme}://{parts.netloc}{path}"
    if parts.scheme == "redis":
        return plain, None
    tls: dict[str, Any] = {name: options[name] for name in _FILES if name in options}
    tls["ssl_cert_reqs"] = _CHECKS[options.get("ssl_cert_reqs", "required")]
    if "ssl_check_hostname" in options:
        tls["ssl_check_hostname"] = _BOOLEANS[options["ssl_check_hostname"]]
    return plain, tls


def _split(scheme: str, rest: str) -> SplitResult:
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        parts.port  # noqa: B018  # raises for what is no number, and would show it: it may be half of a password
    except ValueError:
        raise ValueError(
            "its host and port cannot be read; in a password, write / ? # and @ as %2F %3F %23 %40"
        ) from None
    return parts


def _who(options: dict[str, str]) -> str:
    """Takes a user and a password out of the query of a socket's URL, where redis-py reads them and kombu does not."""
    user, password = options.pop("username", ""), options.pop("password", "")
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _check(scheme: str, options: dict[str, str]) -> None:
    """Puts the options in one spelling. Raises ValueError for those that not every library knows."""
    known = ("db", *(_TLS if scheme == "rediss" else ()))
    for name in options:
        if name not in known:
            raise ValueError(f"its query has {name!r}; with {scheme}:// expected nothing but {', '.join(known)}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("its db is not a number; expected 0, 1, ...")
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
        if options["ssl_cert_reqs"] not in _CHECKS:
            raise ValueError(f"its ssl_cert_reqs is none of {', '.join(_CHECKS)}")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower()
        if options["ssl_check_hostname"] not in _BOOLEANS:
            raise ValueError("its ssl_check_hostname is neither true nor false")
