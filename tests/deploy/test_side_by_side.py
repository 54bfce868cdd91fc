"""docker-compose.yml, run: each service's command on loopback, in the file's order, and a job through all of them."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
import redis

from tests import services as servers
from tests.deploy.side_by_side import FILE, SideBySide, path_with, services, side_by_side
from unembed.client import Client
from unembed.errors import UnembedError
from unembed.schemas import JobState

SECRETS = (
    "api_keys",
    "flower_basic_auth",
    "grafana_password",
    "metrics_key",
    "postgres_password",
    "redis_password",
)

# Where no redis-cli is installed: the one command that the health check gives it, and nothing else.
REDIS_CLI = """#!{python}
import os, sys, redis
assert sys.argv[1:] == ["ping"]
print("PONG" if redis.Redis(port={port}, password=os.environ["REDISCLI_AUTH"]).ping() else "")
"""


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What `deploy/make-secrets.sh` makes, beside a copy of it."""
    script = tmp_path / "deploy" / "make-secrets.sh"
    script.parent.mkdir()
    shutil.copy(FILE.parent / "deploy" / script.name, script)
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    return tmp_path / "secrets"


def test_secrets_are_made_once_and_only_their_owner_can_open_the_folder(secrets: Path) -> None:
    # Given secrets that were made
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert sorted(made) == sorted(SECRETS)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len(set(made.values())) == len(made)
    # And the key of Prometheus is one of the API's
    assert made["api_keys"].splitlines()[1:] == [made["metrics_key"].strip()]
    # And one that was lost, and one that the operator chose
    (secrets / "redis_password").unlink()
    (secrets / "postgres_password").unlink()
    (secrets / "postgres_password").write_text("mine\n")
    # When they are made again, Then only the lost one is new
    said = subprocess.run(
        ["sh", str(secrets.parent / "deploy" / "make-secrets.sh")], check=True, capture_output=True, text=True
    ).stdout
    again = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {name for name in made if made[name] != again[name]} == {"redis_password", "postgres_password"}
    assert again["postgres_password"] == "mine\n"
    # And none is shown
    assert not [value for value in again.values() if value.strip() in said]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def running(secrets: Path, tmp_path: Path) -> Iterator[SideBySide]:
    ports = {name: free_port() for name in ("postgres", "redis", "api", "flower")}
    cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if cli is None:
        stand_in = tmp_path / "redis-cli"
        stand_in.write_text(REDIS_CLI.format(python=sys.executable, port=ports["redis"]))
        stand_in.chmod(0o755)
        cli = str(stand_in)
    programs = {"redis-cli": cli, "redis-server": str(servers.redis_binary())}
    programs["pg_isready"] = str(servers.postgres_binaries() / "pg_isready")
    data = tmp_path / "data"
    data.mkdir()
    places = {
        "postgres:5432": f"127.0.0.1:{ports['postgres']}",
        "-p 5432": f"-p {ports['postgres']}",
        "redis:6379": f"127.0.0.1:{ports['redis']}",
        "redis-server -": f"redis-server - --bind 127.0.0.1 --port {ports['redis']}",
        "redis-cli ping": f"redis-cli -p {ports['redis']} ping"
        if cli != str(tmp_path / "redis-cli")
        else "redis-cli ping",
        "--dir /data": f"--dir {data}",
        "0.0.0.0": "127.0.0.1",
        "127.0.0.1:8765": f"127.0.0.1:{ports['api']}",
        "127.0.0.1:5555": f"127.0.0.1:{ports['flower']}",
        "5555": str(ports["flower"]),
        "/run/secrets": str(secrets),
    }
    environment = {"PATH": path_with(tmp_path / "bin", programs), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # The image publishes 8765 whatever the host's port is; here the API is told the port.
    environment["UNEMBED_PORT"] = str(ports["api"])
    with (
        servers.running_postgres(keeps=False, port=ports["postgres"]) as postgres,
        side_by_side(places, environment, tmp_path) as started,
    ):
        as_its_image_does(postgres.url, (secrets / "postgres_password").read_text().strip())
        yield started


def as_its_image_does(url: str, password: str) -> None:
    """What its entrypoint makes: a user and a database of that name, and a password for whoever comes by address."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE unembed LOGIN SUPERUSER PASSWORD '{password}'")
        connection.execute("CREATE DATABASE unembed OWNER unembed")
        (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        Path(hba).write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        connection.execute("SELECT pg_reload_conf()")


def test_every_service_runs_as_the_file_says_and_a_job_goes_through_them(running: SideBySide, secrets: Path) -> None:
    found = services()
    assert list(found) == ["redis", "postgres", "migrate", "api", "worker", "flower"]
    # Given all services, each started by its own command once what it waits for is as the file says
    for name, service in found.items():
        if name != "postgres":  # its image's own
            running.start(name, service)
    # When each health check is asked, by its own command, Then each comes to say that its service is well
    for name in set(found) - {"migrate"}:
        running.await_healthy(name, found[name])
    # And a job goes through, for those who have the key
    url = f"http://{running.placed('127.0.0.1:8765')}"
    vectors = np.random.default_rng(0).normal(size=(5, 384)).astype(np.float32)
    with Client(url, api_key=(secrets / "api_keys").read_text().splitlines()[0]) as client:
        job = client.submit(vectors).wait(timeout=180)
        assert job.job.state is JobState.SUCCEEDED
        assert job.to_arrow().num_rows == 5
    with Client(url) as stranger, pytest.raises(UnembedError, match="key"):
        stranger.submit(vectors)
    # And without the password there is no way into Redis
    with (
        redis.Redis.from_url(f"redis://{running.placed('redis:6379')}") as client_of_redis,
        pytest.raises(redis.AuthenticationError),
    ):
        client_of_redis.ping()
    # And TERM ends each of ours in order, and Redis with its file written
    for name in ("flower", "worker", "api", "redis"):
        assert running.stop(name) in (0, -15), running.log(name).read_text()
    # And then each health check says that its service is not well
    for name in ("redis", "api", "flower"):
        assert running.check(found[name])[0] != 0, name
