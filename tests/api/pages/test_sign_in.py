"""Signing in, where the server has keys."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.api.conftest import DECODER
from tests.builders import DIM
from unembed.api.pages.shell import COOKIE

Browse = Callable[..., TestClient]

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def locked(browse: Browse) -> TestClient:
    return browse(api_keys=(SecretStr("the-key"),))


def test_without_keys_nobody_has_to_sign_in(browser: TestClient) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    assert "Sign out" not in page.text


def test_who_comes_without_a_key_is_led_to_the_sign_in_and_back(locked: TestClient) -> None:
    # Given a server with a key, When a page is asked for without it
    away = locked.get("/?sort=name")
    # Then the sign-in is shown, which knows the page
    assert (away.status_code, away.headers["location"]) == (303, "/sign-in?next=%2F%3Fsort%3Dname")
    form = locked.get(away.headers["location"])
    assert 'value="/?sort=name"' in form.text
    # And when the key is given, the way leads back, with a cookie that scripts cannot read
    back = locked.post("/sign-in", data={"key": " the-key\n", "next": "/?sort=name"})
    assert (back.status_code, back.headers["location"]) == (303, "/?sort=name")
    cookie = back.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=the-key;")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie  # it goes when the browser is closed
    assert locked.get("/").status_code == 200
    # And who signs out is out
    assert locked.post("/sign-out").headers["location"] == "/sign-in"
    assert locked.get("/").status_code == 303


def test_a_wrong_key_is_said_to_be_wrong_and_is_not_kept(locked: TestClient) -> None:
    answer = locked.post("/sign-in", data={"key": "another"})
    assert answer.status_code == 401
    assert "not one of the server" in answer.text
    assert "another" not in answer.text.replace("another site", "")
    assert "set-cookie" not in answer.headers


def test_a_part_of_a_page_leads_the_whole_page_to_the_sign_in(locked: TestClient) -> None:
    answer = locked.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")


@pytest.mark.parametrize(
    "elsewhere",
    ["https://example.org/", "//example.org", "/\\example.org", "javascript:alert(1)", "jobs", "/\nx", "", "/\t/a.org"],
)
def test_a_sign_in_leads_nowhere_but_to_this_server(locked: TestClient, elsewhere: str) -> None:
    assert 'name="next" value="/"' in locked.get(f"/sign-in?next={quote(elsewhere, safe='')}").text
    answer = locked.post("/sign-in", data={"key": "the-key", "next": elsewhere})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_page_of_another_site_cannot_sign_anybody_in(locked: TestClient) -> None:
    answer = locked.post("/sign-in", data={"key": "the-key"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_cookie_opens_pages_and_not_the_api(locked: TestClient) -> None:
    # Given somebody who is signed in
    locked.post("/sign-in", data={"key": "the-key"})
    # When their browser asks the API, Then it wants the key in the header: nothing there is a page's
    body = {"decoder": DECODER, "embedding_dim": DIM}
    assert locked.get("/v1/jobs").status_code == 401
    assert locked.post("/v1/jobs", json=body).status_code == 401


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ({"json": {"key": "the-key"}}, 415, "application/json"),
        ({"content": b"key=%FF", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400, "form"),
        ({"data": {f"f{n}": "x" for n in range(60)}}, 400, "50 fields"),
    ],
)
def test_a_body_that_is_no_form_is_refused(locked: TestClient, sent: dict[str, object], status: int, says: str) -> None:
    answer = locked.post("/sign-in", **sent)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert says in answer.text
