"""What all pages share: the templates, how numbers and times are written, and what the browser may load."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"

# No script or style within a page, and nothing from elsewhere: a text that slips through as markup can do nothing.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # decoded texts stay out of the browser's cache
}


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one, as the answer. `values` are what the template names: none may be missing."""
    html = TEMPLATES.get_template(template).render(path=request.url.path, signed_in=_signed_in(request), **values)
    return HTMLResponse(html, status, HEADERS)


def asset(name: str) -> str:
    """The address of a file of static/, which changes when the file does, so that browsers may keep it."""
    return f"/static/{name}?v={_digest(name)}"


def _digest(name: str) -> str:
    if name not in _DIGESTS:
        _DIGESTS[name] = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return _DIGESTS[name]


_DIGESTS: Final[dict[str, str]] = {}


def _signed_in(request: Request) -> bool:
    return COOKIE in request.cookies


COOKIE: Final = "unembed_key"


# --- how values are written ------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """12,345."""
    return f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A share of 0 to 1. Only what is whole is 100 %."""
    if share is None:
        return "–"
    return f"{min(share * 100, 100 if share >= 1 else 99.9):.1f} %".replace(".0 %", " %")


def duration(seconds: float | None) -> str:
    """4.2 s, 3 min 12 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, below in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def ago(at: datetime | None) -> str:
    """How long ago, by this machine's clock: the database's may differ by a little, which is no time in the future."""
    if at is None:
        return "–"
    seconds = max(1, round((datetime.now(UTC) - at).total_seconds()))
    return f"{seconds} s ago" if seconds < 10 else f"{duration(seconds)} ago"


def moment(at: datetime | None) -> str:
    """2026-11-29 06:40:12 UTC."""
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def count_of(n: float, one: str, many: str | None = None) -> str:
    """1 row, 2 rows."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


TEMPLATES: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters.update(number=number, percent=percent, duration=duration, ago=ago, moment=moment, count_of=count_of)
TEMPLATES.globals.update(asset=asset, version=version("unembed"))
