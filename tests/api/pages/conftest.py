"""What a browser asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def browser(api: TestClient) -> TestClient:
    """The application's client, which asks for pages as a browser does."""
    api.headers.update(HTML)
    return api


@pytest.fixture
def browse(serve: Callable[..., TestClient]) -> Callable[..., TestClient]:
    """The same, of an application whose settings differ from the usual ones."""

    def start(**changes: Any) -> TestClient:
        client = serve(**changes)
        client.headers.update(HTML)
        client.follow_redirects = False
        return client

    return start
