"""Markdown that others wrote, such as a model card, as a part of a page."""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

# No HTML of the card's own, no pictures from elsewhere, and of links only those that lead to a page: what the parser
# itself takes for dangerous (javascript:, data:) stays text.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
_DEEPEST: Final = 6


def to_html(text: str, *, below: int) -> Markup:
    """The text without its title. Its headings are those of a part of a page whose own heading is of rank `below`."""
    tokens = _MARKDOWN.parse(re.sub(r"\A\s*#\s[^\n]*\n", "", text))
    ranks = [int(token.tag[1]) for token in tokens if token.type == "heading_open"]
    lower = below + 1 - min(ranks, default=1)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + lower, _DEEPEST)}"
        elif token.type == "th_open":
            token.attrSet("scope", "col")
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    # A wide table scrolls by itself, and not the page.
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    return Markup(html)  # noqa: S704 - the parser has escaped what the text holds


def inline(text: str) -> Markup:
    """A line of it, without paragraphs."""
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704 - as above
