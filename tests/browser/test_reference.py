"""The reference of the API, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.looking import WAYS, Look

Looks = Callable[..., Look]


@pytest.mark.parametrize("way", WAYS)
def test_the_reference_is_sound_in_light_and_dark_and_on_a_phone(looks: Looks, way: str) -> None:
    # When it is opened, Then axe finds nothing serious, the browser complains of nothing, and it fits the screen
    look = looks(way)
    look.open("/docs")
    look.assert_sound()
    look.picture("reference", begin="#create_job")


def test_an_operation_is_reached_from_the_list_without_javascript(looks: Looks) -> None:
    page = looks(scripts=False).open("/docs")
    page.get_by_role("link", name="PUT /v1/jobs/{job_id}/batches/{ordinal}").click()
    page.wait_for_url("**/docs#put_batch")
    assert page.locator("#put_batch").is_visible()
