from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unembed.errors import UnavailableError
from unembed.home import (
    SERVER_FILE,
    Server,
    home_folder,
    known_url,
    remove_server,
    require_url,
    running_server,
    started_at,
)
from unembed.home import write_server as write

HERE = Server(url="http://127.0.0.1:1", flower_url=None, pid=os.getpid())


def test_a_running_server_is_found_through_its_home(tmp_path: Path) -> None:
    # Given the note of a server whose process lives, When it is looked for, Then it is found, until it is removed
    write(tmp_path, HERE)
    assert running_server(tmp_path) == HERE
    remove_server(tmp_path)
    assert running_server(tmp_path) is None


def test_the_note_of_a_dead_server_is_not_believed(tmp_path: Path) -> None:
    # Given the note of a process that has ended
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, HERE.model_copy(update={"pid": ended.pid}))
    # When it is looked for, Then there is none
    assert running_server(tmp_path) is None


def test_the_note_of_a_process_whose_number_is_now_anothers_is_not_believed(tmp_path: Path) -> None:
    # Given the note of a server, and a process of its number that lives
    write(tmp_path, HERE.model_copy(update={"started": started_at(os.getpid())}))
    assert running_server(tmp_path) is not None
    # When that process started at another moment than the server, Then there is no server
    write(tmp_path, HERE.model_copy(update={"started": "long ago"}))
    assert running_server(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}'])
def test_a_damaged_note_is_no_server(tmp_path: Path, text: str) -> None:
    # Given a note that is none, When a server is looked for, Then there is none
    (tmp_path / SERVER_FILE).write_text(text)
    assert running_server(tmp_path) is None


def test_the_url_that_is_given_goes_before_the_environment_and_that_before_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a running server
    write(tmp_path, HERE)
    # When nothing else is known, Then it is the one
    assert known_url(None, tmp_path) == HERE.url
    # And the environment goes before it, and what is given before that
    monkeypatch.setenv("UNEMBED_URL", "http://environment")
    assert known_url(None, tmp_path) == "http://environment"
    assert known_url("http://given", tmp_path) == "http://given"


def test_no_url_at_all_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    # Given an empty home, When a URL is required, Then the error names the folder
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        require_url(None, tmp_path)


def test_the_home_is_a_folder_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the environment of a user, When the home is asked for, Then the nearest statement wins
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert home_folder() == tmp_path / "unembed"
    monkeypatch.setenv("UNEMBED_HOME", str(tmp_path / "named"))
    assert home_folder() == tmp_path / "named"
    assert home_folder(tmp_path / "given") == tmp_path / "given"
