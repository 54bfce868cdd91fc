"""What all pages share: what a browser may load, errors that a person can read, and what is public."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import assert_problem, new_job
from tests.builders import DIM
from unembed.api.pages import shell

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@on_sqlite
def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_that_stands_in_it(browser: TestClient) -> None:
    # When a page is read
    answer = browser.get("/")
    # Then its policy allows this server's own files alone, and nobody may put it into a frame
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    # And every file that it names is there, may be kept, and is of this server
    named = re.findall(r'(?:src|href)="([^"]*\.(?:js|css|svg)[^"]*)"', answer.text)
    assert len(named) >= 4
    for address in named:
        assert address.startswith("/static/")
        asset = browser.get(address)
        assert asset.status_code == 200, address
        assert "immutable" in asset.headers["cache-control"]
    # And there is neither a script nor a style within it
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", answer.text)


@on_sqlite
def test_a_files_address_without_its_version_is_asked_for_again(browser: TestClient) -> None:
    assert browser.get("/static/page.css").headers["cache-control"] == "no-cache"


@on_sqlite
@pytest.mark.parametrize("name", ["nothing.css", "..%2f..%2fapp.py", "%2e%2e%2fshell.py"])
def test_no_path_leads_out_of_the_folder_of_files(browser: TestClient, name: str) -> None:
    assert browser.get(f"/static/{name}").status_code == 404


@on_sqlite
def test_a_name_that_is_markup_is_shown_as_text(browser: TestClient) -> None:
    # Given a job whose name is a script
    new_job(browser, name="<script>alert(1)</script>")
    # When the page with it is read, Then it is text there
    page = browser.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@on_sqlite
def test_a_person_gets_an_error_as_a_page_and_a_program_as_a_document(browser: TestClient) -> None:
    # When a browser asks for what is not there, Then it is told so on a page
    page = browser.get("/nowhere")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Not Found" in page.text
    # And under /v1, or for a program, it is the document as ever
    assert_problem(browser.get("/v1/jobs/none-such"), 404, "not_found")
    assert_problem(browser.get("/nowhere", headers={"Accept": "*/*"}), 404, "not_found")


@on_sqlite
def test_a_text_within_an_error_is_escaped(browser: TestClient) -> None:
    page = browser.get("/static/%3Cb%3E")
    assert page.status_code == 404
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text


@on_sqlite
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine, or a neighbouring name
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://127.0.0.1:8765"}, 201),
        ({}, 201),
    ],
)
def test_a_page_of_another_site_changes_nothing(browser: TestClient, headers: dict[str, str], status: int) -> None:
    # When a browser sends a change for a page of another site, or of ours
    answer = browser.post("/v1/jobs", json={"decoder": "toy", "embedding_dim": DIM}, headers=headers)
    # Then only ours, and programs, may
    assert answer.status_code == status, answer.text
    if status == 403:
        assert_problem(answer, 403, "forbidden", "another site")
    # And reading is not refused: the answer is the browser's own to keep from that page
    assert browser.get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "–"),
        (0.004, "4 ms"),
        (4.25, "4.2 s"),
        (59.6, "1 min"),
        (192, "3 min 12 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (277_200, "3 d 5 h"),
    ],
)
def test_a_duration_is_written_in_the_units_of_its_size(seconds: float | None, written: str) -> None:
    assert shell.duration(seconds) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [(None, "–"), (0, "0 %"), (0.1234, "12.3 %"), (0.9999, "99.9 %"), (1, "100 %"), (0.5, "50 %")],
)
def test_only_what_is_whole_is_a_hundred_percent(share: float | None, written: str) -> None:
    assert shell.percent(share) == written


def test_a_time_that_another_clock_puts_into_the_future_was_just_now() -> None:
    assert shell.ago(datetime.now(UTC) + timedelta(seconds=30)) == "1 s ago"
