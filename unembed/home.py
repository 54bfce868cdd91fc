"""The folder of the embedded server, and the note in it that says where a running one is.

`unembed up` writes `server.json` when it is ready and removes it when it ends; the other verbs and the client read it,
so that none of them needs a URL on the machine where it runs.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from platformdirs import user_data_path

from unembed.errors import InputError, UnavailableError
from unembed.schemas import Wire

SERVER_FILE: Final = "server.json"
_KEY, _KEY_FILE = "UNEMBED_API_KEY", "UNEMBED_API_KEY_FILE"
_ANSWERS_WITHIN: Final = 5.0  # seconds


class Server(Wire):
    """Where a running `unembed up` answers."""

    url: str
    flower_url: str | None = None
    pid: int
    started: str | None = None  # when the process of this number started: after it, the number may be another's


def home_folder(given: Path | None = None) -> Path:
    """`given`, or UNEMBED_HOME, or the platform's place for an application's data; it need not exist yet.

    Raises InputError when the user has no home directory and no folder is named.
    """
    named = given or os.environ.get("UNEMBED_HOME")
    try:
        folder = Path(named).expanduser().absolute() if named else user_data_path("unembed", appauthor=False)
    except RuntimeError:  # `~`, or `~somebody`, who has no home directory
        folder = Path()
    if not folder.is_absolute():
        raise InputError(
            f"there is no home directory for {str(named or '~')!r}: name a folder with --home or UNEMBED_HOME"
        )
    return folder


def write_server(home: Path, server: Server) -> None:
    """Readers see the old note or the new one, never half of one."""
    half = home / f".{SERVER_FILE}.{os.getpid()}"
    half.write_text(server.model_dump_json(), encoding="utf-8")
    half.replace(home / SERVER_FILE)


def remove_server(home: Path) -> None:
    (home / SERVER_FILE).unlink(missing_ok=True)


def running_server(home: Path) -> Server | None:
    """The server that runs from this folder; None when there is no note, or its process is gone or another one."""
    try:
        server = Server.model_validate(json.loads((home / SERVER_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if server.started is not None and sys.platform != "win32":
        return server if started_at(server.pid) == server.started else None
    return server if _is_alive(server.pid) else None


def answering_server(home: Path) -> Server | None:
    """The server that runs from this folder, if it answers: its process may be gone, and its number be another's."""
    server = running_server(home)
    return server if server and answers(server.url) else None


def known_url(url: str | None = None, home: Path | None = None) -> str | None:
    """`url`, or UNEMBED_URL, or where `unembed up` runs from this home folder; None when there is none of these."""
    given = url or os.environ.get("UNEMBED_URL")
    if given:
        return given
    server = running_server(home_folder(home))
    return server.url if server else None


def require_url(url: str | None = None, home: Path | None = None) -> str:
    """What `known_url` finds; UnavailableError, with what to do about it, when it finds none."""
    found = known_url(url, home)
    if found is None:
        raise UnavailableError(
            f"no server is known: none runs from {home_folder(home)}. Start one with `unembed up`, "
            "or name one with --url or UNEMBED_URL"
        )
    return found


def known_key(given: str | None = None) -> str | None:
    """`given`, or UNEMBED_API_KEY, or what the file holds that UNEMBED_API_KEY_FILE names; None without any.

    Raises InputError as `key_in` does.
    """
    if key := given or os.environ.get(_KEY):
        return key
    file = os.environ.get(_KEY_FILE)
    return key_in(file, _KEY_FILE) if file else None


def key_in(file: str, name: str) -> str:
    """The key in a file that an option or a variable of this name has named.

    Raises InputError when it cannot be read, or holds no key.
    """
    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{name} is {file!r}, which cannot be read: {why}; expected a file with a key") from error
    if not key:
        raise InputError(f"{name} is {file!r}, which is empty; expected a file with a key")
    return key


def answers(url: str, path: str = "/healthz") -> bool:
    """Whether a server says there that all is well."""
    parts = urlsplit(url)
    try:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWERS_WITHIN)
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
    except (OSError, ValueError, http.client.HTTPException):
        return False


def is_loopback(host: str) -> bool:
    """Whether this name or address, without its port, is always this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 would end the process there; a dead server shows when it is called
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_at(pid: int) -> str | None:
    """When a process started, in whatever the platform counts; None when there is none, or only a zombie."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
