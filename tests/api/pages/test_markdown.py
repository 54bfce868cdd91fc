"""Markdown that others wrote. tests/api/pages/test_decoders.py shows that it brings no markup of its own."""

from __future__ import annotations

import pytest

from unembed.api.pages.markdown import to_html


@pytest.mark.parametrize("deep", range(1, 7))
def test_a_cards_headings_follow_those_of_the_page(deep: int) -> None:
    assert to_html(f"# title\n\n{'#' * deep} a part\n", below=2) == "<h3>a part</h3>\n"
