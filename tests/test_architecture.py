"""docs/architecture.md is true: what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.(?:py|toml))`", PAGE))))
def test_every_file_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("name", "path"), sorted(set(re.findall(r"`(\w+)` in `([\w/]+\.py)`", PAGE))))
def test_every_name_is_defined_in_the_file_that_is_told(name: str, path: str) -> None:
    assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", PAGE))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).is_file()
