"""Every answer of every API test is one that the application's OpenAPI description promises."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient


def hold_to_its_description(client: TestClient) -> None:
    """From now on an answer whose status or media type is not described fails the test that asked for it."""
    described = _described or client.app.openapi()["paths"]  # type: ignore[attr-defined]
    _described.update(described)
    client.event_hooks = {"response": [lambda answer: _check(described, answer)]}


_described: dict[str, Any] = {}  # the same whatever the settings, and made once: it takes longer than most tests


def _check(described: dict[str, Any], answer: Any) -> None:
    operation = _operation(described, answer.request.method, answer.request.url.path)
    if operation is None:
        return  # no such path or method: there is nothing to describe
    request = f"{answer.request.method} {answer.request.url.path}"
    responses = operation["responses"]
    assert str(answer.status_code) in responses, f"{request} answered {answer.status_code}, described: {[*responses]}"
    described_types = [*responses[str(answer.status_code)].get("content", {})]
    if not described_types:
        assert answer.read() == b"", f"{request} answered {answer.content!r}, described as empty"
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in described_types, f"{request} answered {media_type}, described: {described_types}"


def _operation(described: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    for template, operations in described.items():
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None
