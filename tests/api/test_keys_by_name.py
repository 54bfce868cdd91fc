"""API keys that were made by name: their roles, their limits, and whose jobs there are for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.api.conftest import ARROW, DECODER, assert_problem, payload
from tests.builders import DIM, make_job
from unembed.api.app import create_app
from unembed.api.keyring import FRESH, Keyring
from unembed.errors import ConflictError, InputError, NotFoundError
from unembed.models.settings import Settings
from unembed.models.store import ClientLimits, Store
from unembed.models.store.keys import new_secret
from unembed.schemas import KeyRole

SPEC = {"decoder": DECODER, "embedding_dim": DIM}
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def add(store: Store, name: str, role: KeyRole = KeyRole.SUBMITTER, **limits: int) -> dict[str, str]:
    """The header of a new key."""
    secret = new_secret()
    store.keys.add(name, role, ClientLimits(**limits), secret)
    return {"Authorization": f"Bearer {secret}"}


def submit(api: TestClient, key: dict[str, str]) -> str:
    answer = api.post("/v1/jobs", json=SPEC, headers=key)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_key_is_found_until_it_is_revoked(store: Store) -> None:
    # Given a key
    secret = new_secret()
    assert not store.keys.are_any()
    added = store.keys.add("ci", KeyRole.READER, ClientLimits(rows=5), secret)
    # When it is looked for, Then it is there, and no other is; and nowhere in the database is the key itself
    assert store.keys.find(secret) == added
    assert store.keys.find(secret + "x") is None
    assert secret not in repr(store.keys.all())
    with pytest.raises(ConflictError, match="'ci'"):
        store.keys.add("ci", KeyRole.ADMIN, ClientLimits(), new_secret())
    # And when it is revoked, then it is only listed
    revoked = store.keys.revoke("ci")
    assert revoked.revoked_at is not None
    assert (store.keys.find(secret), store.keys.are_any(), store.keys.all()) == (None, False, [revoked])
    with pytest.raises(NotFoundError, match="'ci'"):
        store.keys.revoke("ci")
    # And its name may be given again, with the jobs that it has
    again = store.keys.add("ci", KeyRole.ADMIN, ClientLimits(), new_secret())
    assert (again.client, again.role, again.revoked_at) == (added.client, KeyRole.ADMIN, None)


@on_sqlite
def test_a_job_of_another_key_is_not_found(api: TestClient, store: Store) -> None:
    # Given two keys, and a job of each
    mine, theirs = add(store, "mine"), add(store, "theirs")
    job, other = submit(api, mine), submit(api, theirs)
    # When one asks for the other's, whatever it asks, Then the answer is that of a job that there is not
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/batches", None),
        ("GET", "/batches/0", None),
        ("GET", "/results", None),
        ("GET", "/errors", None),
        ("GET", "/download", None),
        ("GET", "/events", None),
        ("POST", "/seal", {"batches": 1, "rows": 1}),
        ("POST", "/cancel", None),
        ("POST", "/retry", None),
        ("DELETE", "", None),
    ):
        answers = [
            api.request(method, f"/v1/jobs/{each}{path}", json=body, headers=mine).json() for each in (other, "nope")
        ]
        assert [answer["code"] for answer in answers] == ["not_found"] * 2, path
        assert answers[0]["detail"].replace(other, "nope") == answers[1]["detail"]
    put = api.put(f"/v1/jobs/{other}/batches/0?first_index=0", content=payload(), headers={**ARROW, **mine})
    assert_problem(put, 404, "not_found")
    # And it is not listed
    assert [each["id"] for each in api.get("/v1/jobs", headers=mine).json()["jobs"]] == [job]
    # But its own is there
    assert api.get(f"/v1/jobs/{job}", headers=mine).json()["id"] == job


@on_sqlite
def test_an_admin_sees_all_jobs_and_a_reader_changes_none(api: TestClient, store: Store) -> None:
    # Given a job of a submitter, and one of a reader from when it was a submitter
    first = submit(api, add(store, "first"))
    reader_was = add(store, "reader")
    second = submit(api, reader_was)
    store.keys.revoke("reader")
    reader, admin = add(store, "reader", KeyRole.READER), add(store, "admin", KeyRole.ADMIN)
    # When an admin lists jobs, Then all are there, and may be cancelled
    assert {each["id"] for each in api.get("/v1/jobs", headers=admin).json()["jobs"]} == {first, second}
    assert api.post(f"/v1/jobs/{first}/cancel", headers=admin).status_code == 200
    # And when the reader looks, then its own is there, and may only be read
    assert [each["id"] for each in api.get("/v1/jobs", headers=reader).json()["jobs"]] == [second]
    assert_problem(api.post(f"/v1/jobs/{second}/cancel", headers=reader), 403, "forbidden", "submitter")
    assert_problem(api.post("/v1/jobs", json=SPEC, headers=reader), 403, "forbidden", "submitter")
    assert api.get("/v1/decoders", headers=reader).status_code == 200


@on_sqlite
def test_once_there_is_a_key_nothing_opens_without_one(
    api: TestClient, store: Store, serve: Callable[..., TestClient]
) -> None:
    # Given a server that answered this machine without a key
    assert api.get("/v1/jobs").status_code == 200
    # When a key is made, Then a server asks for it
    key = add(store, "first")
    locked = serve()
    assert_problem(locked.get("/v1/jobs"), 401, "auth", "key")
    assert_problem(locked.get("/v1/jobs", headers={"Authorization": "Bearer unembed_x"}), 401, "auth")
    assert locked.get("/v1/jobs", headers=key).status_code == 200
    # And it answers by any name
    assert locked.get("/v1/jobs", headers={**key, "Host": "gpu.example"}).status_code == 200


@on_sqlite
def test_a_key_of_the_settings_sees_its_own_jobs_and_those_of_nobody(
    serve: Callable[..., TestClient], store: Store
) -> None:
    # Given two keys in the settings, one by name, and a job from before there were any
    old = make_job(store).id
    locked = serve(api_keys=(SecretStr("one"), SecretStr("two")))
    keys = [{"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}, add(store, "named")]
    jobs = [submit(locked, key) for key in keys]
    # When each lists its jobs, Then they are its own
    listed = [{each["id"] for each in locked.get("/v1/jobs", headers=key).json()["jobs"]} for key in keys]
    assert listed == [{jobs[0], old}, {jobs[1], old}, {jobs[2]}]


@on_sqlite
def test_a_key_has_limits_of_its_own(api: TestClient, store: Store) -> None:
    # Given a key that may have two rows queued, and one that may ask twice a minute
    few, seldom = add(store, "few", rows=2), add(store, "seldom", requests=2)
    job = submit(api, few)
    # When the first has two rows queued, Then the next are refused
    put = [
        api.put(f"/v1/jobs/{job}/batches/{n}?first_index={2 * n}", content=payload(), headers={**ARROW, **few})
        for n in range(2)
    ]
    assert put[0].status_code == 201
    assert_problem(put[1], 429, "busy", "2 rows of this client")
    # And when the other has asked twice, then it has to wait
    assert [api.get("/v1/decoders", headers=seldom).status_code for _ in range(3)] == [200, 200, 429]


@on_sqlite
def test_a_revoked_key_is_believed_for_a_moment_only(store: Store) -> None:
    # Given a key that was asked for
    now = 0.0
    secret = new_secret()
    keyring = Keyring(store.keys, clock=lambda: now)
    assert (keyring.find(secret), keyring.are_any()) == (None, False)
    key = store.keys.add("k", KeyRole.READER, ClientLimits(), secret)
    assert keyring.find(secret) == key
    # When it is revoked, Then it is forgotten within two seconds
    store.keys.revoke("k")
    now = FRESH
    assert keyring.find(secret) is None


@on_sqlite
def test_a_host_that_others_reach_needs_a_key_that_is_not_revoked(api_settings: Settings, store: Store) -> None:
    # Given a key in the database
    add(store, "ops")
    open_to_all = api_settings.model_copy(update={"host": "0.0.0.0"})
    # When the host is open, Then the application is made
    app = create_app(open_to_all)
    # And when the key is revoked, then none is made, and one that runs answers nobody from elsewhere
    store.keys.revoke("ops")
    with pytest.raises(InputError, match="unembed keys add"):
        create_app(open_to_all)
    with TestClient(app, base_url="http://192.168.1.5:8765") as client:
        assert_problem(client.get("/v1/jobs"), 401, "auth", "unembed keys add")
