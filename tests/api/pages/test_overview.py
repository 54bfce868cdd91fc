"""The first page, and the events that keep it up to date."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from tests.api.pages.conftest import assert_escaped, scripted_job, sign_in
from tests.builders import add_batches, generations, make_job, run_job
from unembed.api.callers import admitted
from unembed.api.deps import Deps
from unembed.api.pages.live import follow
from unembed.models.clock import now
from unembed.models.store import Store
from unembed.models.tables import WorkerRow
from unembed.schemas import KeyRole, Timings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_who_comes_first_finds_a_command_to_paste(browser: TestClient) -> None:
    page = browser.get("/").text
    assert "Nothing has been decoded here yet" in page
    assert "unembed demo --url http://127.0.0.1:8765" in page
    # And it says what is missing
    assert "No worker runs." in page
    assert "unembed worker" in page


@pytest.mark.parametrize("host", ["a;touch /tmp/x", "$(id)", "a b", "`id`", ""])
def test_a_command_to_paste_holds_nothing_that_a_shell_would_run(
    browse: Callable[..., TestClient], store: Store, host: str
) -> None:
    # Given a server with a key: it answers under any name
    client = browse()
    sign_in(client, store, "mine")
    # When it is asked under one that a shell would read, Then the command names another
    page = client.get("/", headers={"Host": host}).text
    assert "--url http://127.0.0.1:8765</code>" in page


def test_what_is_in_progress_comes_first_then_the_latest_texts(browser: TestClient, store: Store) -> None:
    # Given a job that has ended, and one that waits, and a worker with a batch of a third
    store.workers.check_in("cpu0@here", "here", 1, "cpu", "bfloat16", "avx2")
    done, waits, runs = (make_job(store, name=name) for name in ("done", "waits", "runs"))
    add_batches(store, done, (2,))
    run_job(store, done)
    add_batches(store, waits, (7,))
    (batch,) = add_batches(store, runs, (5,))
    store.attempts.claim(batch.id, "cpu0@here", 60.0)
    store.attempts.heartbeat(batch.id, 1, 60.0, 3)
    # When the page is read
    page = browser.get("/").text
    # Then the open jobs are there, with how far they are, and then the other with one of its texts
    assert page.index(">runs</a>") < page.index(">done</a>") > page.index(">waits</a>")
    assert "3 of 5 rows" in page
    assert "0 of 7 rows" in page
    assert "text 0" in page[page.index(">done</a>") :]
    # And what the worker does, and on what
    assert "3 of 5 rows in" in page
    assert "cpu, bfloat16, avx2" in page
    # And what the other waits for
    assert "1 job ahead" in page
    # And what waits, and for how long
    assert "rows wait, in 1 batch<" in page.replace("\n", "")


def test_the_hour_is_drawn_and_said_in_words(browser: TestClient, store: Store) -> None:
    # Given two rows that were done just now
    store.workers.check_in("cpu0@here", "here", 1, "cpu", None)
    job = make_job(store)
    (batch,) = add_batches(store, job, (2,))
    store.attempts.claim(batch.id, "cpu0@here", 60.0)
    store.attempts.finish(batch.id, 1, generations(batch), Timings())
    # When the page is read, Then there is a bar, and the picture's own words have its number
    page = browser.get("/").text
    assert page.count('<rect class="bar"') == 1
    assert 'aria-label="Rows decoded a minute in the last hour: 2 in all, 2 in the busiest minute"' in page
    # And there is a table of the same numbers
    assert '<td class="n">2</td>' in page


def test_a_worker_that_is_gone_is_told_with_how_it_ended(browser: TestClient, store: Store) -> None:
    # Given a worker that said why it ended, one that fell silent, and one that was here last week
    make_job(store)
    for name in ("cpu0@here", "cpu1@here", "cpu2@here"):
        store.workers.check_in(name, "here", 1, "cpu", None)
    store.workers.ended("cpu0@here", "here", 1, "the weights are damaged")
    with store.engine.begin() as connection:
        for name, ago in (("cpu1@here", 3600), ("cpu2@here", 7 * 86_400)):
            connection.execute(update(WorkerRow).where(WorkerRow.name == name).values(last_seen=now(-ago)))
    # When the page is read, Then two of them are there, and that nothing runs
    page = browser.get("/").text
    assert "the weights are damaged" in page
    assert "not heard of any more" in page
    assert "cpu2@here" not in page
    assert "No worker runs." in page


def test_who_has_a_key_sees_their_own_jobs_and_not_what_others_decode(
    browse: Callable[..., TestClient], store: Store
) -> None:
    # Given two keys with a job each, and a worker that has a batch of the other's
    client = browse()
    store.workers.check_in("cpu0@here", "here", 1, "cpu", None)
    sign_in(client, store, "mine")
    make_job(store, client="key:mine", name="my job")
    other = make_job(store, client="key:other", name="their job")
    (batch,) = add_batches(store, other, (5,))
    store.attempts.claim(batch.id, "cpu0@here", 60.0)
    done = make_job(store, client="key:other", name="their old job")
    store.jobs.cancel(done.id)
    # When the first key looks, Then nothing of the other's is named
    page = client.get("/").text
    assert "my job" in page
    assert "their" not in page
    assert other.id not in page
    assert "a batch of another key&#39;s job" in page or "a batch of another key's job" in page
    # And an admin sees all of it
    sign_in(client, store, "root", KeyRole.ADMIN)
    assert "their job" in client.get("/").text


def test_flower_is_linked_to_where_it_is_known(browse: Callable[..., TestClient], store: Store) -> None:
    make_job(store)
    assert (
        '<a href="http://127.0.0.1:5555/flower">Flower</a>'
        in browse(flower_url="http://127.0.0.1:5555/flower").get("/").text
    )
    assert "<code>unembed flower</code>" in browse().get("/").text


def test_a_corpus_that_decodes_to_a_script_is_shown_as_text(browser: TestClient, store: Store) -> None:
    scripted_job(store)
    assert_escaped(browser.get("/").text, times=2)


def test_an_event_comes_when_something_has_happened(api: TestClient, store: Store) -> None:
    # Given somebody who follows the first page
    deps: Deps = api.app.state.deps  # type: ignore[attr-defined]

    async def listen() -> list[bytes]:
        events = follow(deps, admitted(deps, None))
        heard = [await anext(events)]
        # When a job comes
        with anyio.fail_after(60):
            coming = await anyio.to_thread.run_sync(lambda: make_job(store))
            heard.append(await anext(events))
        assert coming.id.encode() not in b"".join(heard)  # which one it is, is for the page to ask
        assert deps.waiters.are_some
        # And when the server is about to end
        deps.leaving.set()
        heard += [event async for event in events]
        return heard

    heard = anyio.run(listen)
    # Then the page was told that something has changed, and that was all
    assert heard == [b"retry: 2000\n\n", b"event: changed\ndata: \n\n"]
    assert not deps.waiters.are_some


def test_too_many_pages_are_not_followed(browser: TestClient) -> None:
    browser.app.state.deps.waiters.most = 0  # type: ignore[attr-defined]
    answer = browser.get("/events")
    assert answer.status_code == 429
    assert "too many pages are followed" in answer.text


def test_events_need_a_key_where_pages_do(browse: Callable[..., TestClient], store: Store) -> None:
    client = browse()
    sign_in(client, store, "mine")
    client.cookies.clear()
    assert client.get("/events").headers["location"].startswith("/sign-in")
