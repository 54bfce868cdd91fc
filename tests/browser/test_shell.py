"""The frame of all pages, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look

Looks = Callable[..., Look]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["/sign-in"])
def test_a_page_is_sound_in_light_and_dark_and_on_a_phone(looks: Looks, way: str, path: str) -> None:
    # When the page is opened
    look = looks(way)
    look.open(path)
    # Then axe finds nothing serious, the browser complains of nothing, and it fits the screen
    look.assert_sound()


def test_what_the_policy_forbids_is_seen_by_these_tests(looks: Looks) -> None:
    # Given a page into which a script and a style have come
    look = looks()
    page = look.open("/sign-in")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    # When the browser refuses them, Then that is known
    assert any("Content Security Policy" in said for said in look.complaints)


def test_a_page_is_used_by_keyboard(looks: Looks) -> None:
    # When somebody presses Tab on a page, Then the first thing reached leads to its content
    page = looks().open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
