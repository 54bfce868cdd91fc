from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
import redis

from tests.worker.processes import await_
from unembed.models.redis_url import for_broker
from unembed.worker.redis_server import answers, command, socket_path


def test_the_socket_lies_in_the_home_folder(tmp_path: Path) -> None:
    home = Path("/tmp/h")
    with socket_path(home) as path:
        assert path == home / "redis.sock"


@pytest.mark.parametrize("name", ["x" * 120, "with space", "ünï"])
def test_a_home_whose_path_no_socket_can_have_gets_a_private_folder(tmp_path: Path, name: str) -> None:
    # Given a home folder whose path is too long, or would have to be quoted in a URL
    home = tmp_path / name
    # When its socket is placed
    with socket_path(home) as path:
        # Then the path is short and plain, and its folder is for us alone
        assert len(bytes(path)) < 100
        assert for_broker(f"unix://{path}") == (f"redis+socket://{path}?virtual_host=0", None)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_the_embedded_redis_listens_on_its_socket_alone_and_keeps_what_it_was_told(tmp_path: Path) -> None:
    with socket_path(tmp_path / "x") as socket:
        socket.parent.mkdir(exist_ok=True)
        for expected in (None, b"kept"):
            # Given a server, the second time after a kill -9
            assert not answers(socket)
            server = subprocess.Popen(command(socket, tmp_path), stdout=subprocess.DEVNULL)
            await_(lambda: answers(socket))
            # When it is asked
            with redis.Redis(unix_socket_path=str(socket)) as client:
                # Then it has no port, evicts nothing, and has lost nothing
                assert client.config_get("port") == {"port": "0"}
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                assert client.get("key") == expected
                client.set("key", "kept")
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
            server.kill()
            server.wait()
