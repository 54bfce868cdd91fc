"""A real Chromium and a real server. All tests of this folder run in one process, which has one of each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.site import Site, running_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.looking import Look

HERE = Path(__file__).parent
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server with its jobs. Tests that change one make their own."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The distribution's browser. Closed after the last test of this folder: Playwright's loop disturbs others'."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"there is no browser: none of {', '.join(_NAMES)} is on the PATH (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test does that")
    with playwright.sync_playwright() as driver:
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(
            executable_path=program, args=[*as_root, "--disable-gpu", "--force-color-profile=srgb"], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.fixture
def looks(chromium: Browser, site: Site, pytestconfig: pytest.Config) -> Iterator[Callable[..., Look]]:
    """Opens the site's pages: `looks("dark").open("/jobs")`. `scripts=False`: without JavaScript."""
    from tests.browser.looking import Look

    opened: list[Look] = []

    def look(way: str = "light", *, scripts: bool = True, base: str = site.url) -> Look:
        pictures = pytestconfig.getoption("--screenshots")
        opened.append(Look.at(chromium, base, way, scripts=scripts, pictures=pictures))
        return opened[-1]

    yield look
    for each in opened:
        each.close()
