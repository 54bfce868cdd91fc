"""Where the visitor has found this server, for commands to paste."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request

_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]+")


def server_of(request: Request) -> str:
    """`http://127.0.0.1:8765`; nothing that a shell would read otherwise, whatever the request says."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host}" if _HOST.fullmatch(host) else "http://127.0.0.1:8765"
