"""What a shell offers at a TAB, and that it asks, starts and makes nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from pydantic import SecretStr

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run, ServeWith
from unembed.client import Client

UNEMBED: Final = Path(sys.executable).with_name("unembed")
VECTORS: Final = np.ones((2, DIM), np.float32)

# Each presses TAB in a shell at the end of a command line, and prints what is offered, one a line.
SHELLS: Final = {
    "bash": 'eval "$(_UNEMBED_COMPLETE=source_bash unembed)"; COMP_WORDS=($LINE ""); COMP_CWORD=2; '
    '_unembed_completion unembed; printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": '_UNEMBED_COMPLETE=source_fish unembed | source; complete -C "$LINE "',
}
Tab = Callable[..., list[str]]


@pytest.fixture
def tab(run: Run, monkeypatch: pytest.MonkeyPatch) -> Tab:
    """Presses TAB at the end of a line, as bash has it done; what is offered."""

    def press(line: str, **environment: str) -> list[str]:
        asked = {"_UNEMBED_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        with monkeypatch.context() as patch:
            for name, value in (asked | environment).items():
                patch.setenv(name, value)
            ran = run()
        assert (ran.code, ran.err) == (0, ""), "nothing is said in the middle of a command line"
        return ran.out.split()

    return press


@pytest.fixture
def jobs(client: Client, hand: Hand) -> dict[str, str]:
    """Ids of jobs by their names: two that have ended, of which one shares its name, and two that wait."""
    made = {"old": client.submit(VECTORS, decoder=DECODER, name="nightly-1", labels={"team": "search"}).id}
    made["twin"] = client.submit(VECTORS, decoder=DECODER, name="twins").id
    hand.work()
    made["new"] = client.submit(VECTORS, decoder=DECODER, name="nightly-2", labels={"team": "ads"}).id
    made["twin-2"] = client.submit(VECTORS, decoder=DECODER, name="twins").id
    return made


def test_jobs_are_offered_by_name_or_by_id_as_far_as_the_verb_has_a_use_for_them(
    tab: Tab, url: str, jobs: dict[str, str]
) -> None:
    # Given a server with jobs, When TAB is pressed, Then the newest come first, by id where the name is not enough
    assert tab(f"unembed status --url {url} ") == [jobs["twin-2"], "nightly-2", jobs["twin"], "nightly-1"]
    assert tab("unembed status nigh", UNEMBED_URL=url) == ["nightly-2", "nightly-1"]
    assert set(tab("unembed results 01", UNEMBED_URL=url)) == set(jobs.values())
    # And those that have ended are not offered to be cancelled, nor those that run to be removed
    assert tab("unembed cancel ", UNEMBED_URL=url) == [jobs["twin-2"], "nightly-2"]
    assert tab("unembed wait n", UNEMBED_URL=url) == ["nightly-2"]
    assert tab("unembed rm nightly-1 ", UNEMBED_URL=url) == [jobs["twin"], "nightly-1"]


def test_decoders_labels_states_and_formats_are_offered(tab: Tab, url: str, jobs: dict[str, str]) -> None:
    # Given a server, When TAB is pressed behind an option, Then its values come
    assert tab("unembed submit a.npy --decoder t", UNEMBED_URL=url) == [DECODER]
    assert tab("unembed ls --decoder t", UNEMBED_URL=url) == [DECODER]
    assert tab("unembed ls --label ", UNEMBED_URL=url) == ["team=ads", "team=search"]
    assert tab("unembed ls --state r") == ["receiving", "running"]
    assert tab("unembed results x --format j") == ["jsonl"]
    assert tab("unembed submit --input-format n") == ["npy", "npz"]
    assert tab("unembed decode --scores ") == ["all", "none"]
    assert tab("unembed keys add x --role s") == ["submitter"]
    assert tab("unembed ca") == ["cancel"]
    assert tab("unembed keys ") == ["add", "list", "revoke"]
    assert "--idempotency-key" in tab("unembed submit --id")


def test_a_server_that_wants_a_key_is_asked_with_it(tab: Tab, serve_with: ServeWith, tmp_path: Path) -> None:
    # Given a server with a key, and a job
    url = serve_with(api_keys=(SecretStr("the-key"),))
    with Client(url, "the-key") as client:
        client.submit(VECTORS, decoder=DECODER, name="nightly")
    (tmp_path / "key").write_text("the-key")
    # When TAB is pressed with the key, Then the job is offered; without it, nothing is, and nothing is said
    assert tab(f"unembed status --api-key-file key --url {url} ") == ["nightly"]
    assert tab("unembed status ", UNEMBED_URL=url, UNEMBED_API_KEY="the-key") == ["nightly"]
    assert tab(f"unembed status --url {url} ") == []
    assert tab(f"unembed status --api-key-file none --url {url} ") == []


@pytest.fixture
def mute() -> Iterator[str]:
    """Something that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_where_there_is_no_server_nothing_is_offered_said_started_or_made(tab: Tab, mute: str, tmp_path: Path) -> None:
    # Given no server, one that is gone, one that does not answer, and an address that is none
    for url in ("", "http://127.0.0.1:1", mute, "nonsense"):
        # When TAB is pressed, Then nothing is offered, and nothing is said
        assert tab("unembed status ", UNEMBED_URL=url) == []
        if url:
            assert tab("unembed decode --decoder ", UNEMBED_URL=url) == []
    # And nothing was made in the folder, or in the home folder
    assert list(tmp_path.iterdir()) == []


def test_without_a_server_the_decoders_of_this_machine_are_offered(tab: Tab, server_settings: object) -> None:
    # Given no server, but a folder of decoders: `decode` would start one with these
    assert tab("unembed decode --decoder t") == [DECODER]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_offers_the_jobs(shell: str, tab: Tab, url: str, jobs: dict[str, str]) -> None:
    # Given a shell that has read the script of `unembed --show-completion`, When TAB is pressed in it
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{UNEMBED.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "UNEMBED_URL": url, "LINE": "unembed cancel"}
    done = subprocess.run(
        [shell, "-c", SHELLS[shell]], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    # Then it offers what the program says
    assert {word.partition("\t")[0] for word in done.stdout.split("\n") if word} == {jobs["twin-2"], "nightly-2"}
    assert done.stderr == ""


def test_zsh_is_told_what_each_job_is(
    run: Run, url: str, jobs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what zsh asks with, When TAB is pressed, Then the answer has the words, and what each of them is
    asked = {"_UNEMBED_COMPLETE": "complete_zsh", "UNEMBED_URL": url, "_TYPER_COMPLETE_ARGS": "unembed cancel n"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    ran = run()
    assert '"nightly-2":"queued, 2 rows"' in ran.out
    assert ran.err == ""
