"""The decoders' pages, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look
from unembed.schemas import DEFAULT_DECODER

Looks = Callable[..., Look]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("path", "name"), [("/decoders", "decoders"), (f"/decoders/{DEFAULT_DECODER}", "decoder")])
def test_a_page_is_sound_in_light_and_dark_and_on_a_phone(looks: Looks, way: str, path: str, name: str) -> None:
    # When the page is opened, Then axe finds nothing serious, the browser complains of nothing, and it fits the screen
    look = looks(way)
    look.open(path)
    look.assert_sound()
    look.picture(name)
    if name == "decoder":
        look.picture("decoder-curve", begin="#believed")
