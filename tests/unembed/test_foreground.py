"""A decode is gone on with by the same command: where that is, what is kept, and what is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run
from unembed import runs
from unembed.cli import decode_to_file, home_space, watch
from unembed.client import Client
from unembed.errors import CannotWorkError
from unembed.home import Server, write_server
from unembed.job import JobHandle
from unembed.schemas import JobState

ROWS = 25
COMMAND = ("decode", "a.npy", "-o", "out.parquet", "--decoder", DECODER, "--batch-size", 10)


@pytest.fixture(autouse=True)
def corpus(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.linspace(-0.9, 1, ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that the environment names."""
    monkeypatch.setenv("UNEMBED_URL", url)
    return url


@pytest.fixture
def interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command, and presses Ctrl-C when all is sent; what was said."""

    def interrupted(*more: object) -> str:
        def press(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(JobHandle, "wait", press)
            ran = run(*COMMAND, *more)
        assert ran.code == 130
        assert "Traceback" not in ran.err
        return ran.err

    return interrupted


class Ended(NamedTuple):
    home: Path
    is_forgotten: bool


@pytest.fixture
def stacks(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Ended]:
    """Instead of a server of its own, each decode gets the one of the test; where each was, once it has ended."""
    ended: list[Ended] = []

    class Stack:
        def __init__(self, home: Path, *, keeps_vectors: bool, **_: Any) -> None:
            assert not keeps_vectors
            self.home, self.url, self.is_over = home, url, False

        def __enter__(self) -> Stack:
            self.home.mkdir(parents=True, exist_ok=True)
            return self

        def __exit__(self, *_: object) -> None:
            ended.append(Ended(self.home, self.is_over))
            if self.is_over:
                shutil.rmtree(self.home)

        def check(self) -> None:
            """Its workers are well."""

        def kill(self) -> None:
            """Its parts end at once."""

        def forget(self) -> None:
            self.is_over = True

    monkeypatch.setattr("unembed.worker.launch.Stack", Stack)
    return ended


def test_the_same_command_comes_back_to_its_job_on_a_server(
    run: Run, server: str, client: Client, hand: Hand, interrupted: Callable[..., str], home: Path
) -> None:
    # Given a decode that was interrupted
    assert "run the same command again" in interrupted()
    # When the same command is run
    hand.start()
    ran = run(*COMMAND)
    # Then it goes on with that job and says so, and nothing is kept once the texts are in their file
    (job,) = client.jobs().jobs
    assert ran.code == 0
    assert f"going on with job {job.id} of " in ran.err
    assert f" of {ROWS} rows are decoded; --fresh begins anew" in ran.err
    assert pq.read_table("out.parquet").num_rows == ROWS
    assert runs.all_kept(home) == []


@pytest.mark.parametrize("how", ["fresh", "cancelled", "removed", "another name"])
def test_what_is_not_to_be_gone_on_with_is_begun_anew(
    run: Run, server: str, client: Client, hand: Hand, interrupted: Callable[..., str], how: str
) -> None:
    # Given a decode that was interrupted, and its job
    interrupted()
    (old,) = client.jobs().jobs
    if how in ("cancelled", "removed"):
        client.cancel(old.id)
    if how == "removed":
        client.remove(old.id)
    # When the command is run with --fresh, or with another name, or as before though the job is gone
    hand.start()
    ran = run(*COMMAND, *{"fresh": ["--fresh"], "another name": ["--name", "b"]}.get(how, []))
    # Then there is another job
    assert ran.code == 0
    assert "going on" not in ran.err
    assert client.jobs().jobs[0].id != old.id


def test_a_job_that_is_begun_anew_is_cancelled(server: str, client: Client, interrupted: Callable[..., str]) -> None:
    interrupted()
    (old,) = client.jobs().jobs
    interrupted("--fresh")
    assert client.job(old.id).job.state is JobState.CANCELLED


def test_vectors_that_the_server_has_lost_meanwhile_are_sent_again(
    run: Run, server: str, client: Client, hand: Hand, interrupted: Callable[..., str]
) -> None:
    # Given an interrupted decode, whose server has lost the vectors of one batch and knows it, and those of another
    interrupted()
    (job,) = client.jobs().jobs
    hand.lose_payload(f"{job.id}-1")
    hand.find_payloads_lost()
    # When the same command is run
    hand.start()
    ran = run(*COMMAND)
    # Then every row has its text
    assert ran.code == 0
    assert client.job(job.id).job.state is JobState.SUCCEEDED


def test_batches_that_failed_for_good_are_tried_again_by_the_same_command(
    run: Run, server: str, client: Client, hand: Hand, interrupted: Callable[..., str], home: Path
) -> None:
    # Given an interrupted decode, of whose job one batch is dead by now and the others are done
    interrupted()
    hand.fail(1)
    hand.work()
    (job,) = client.jobs().jobs
    assert job.state is JobState.PARTIAL
    # When the same command is run, Then that batch is tried again, and all is well
    hand.start()
    ran = run(*COMMAND)
    assert (ran.code, client.job(job.id).job.state) == (0, JobState.SUCCEEDED)
    assert runs.all_kept(home) == []


def test_what_failed_for_good_is_kept_for_the_next_time(
    run: Run, server: str, client: Client, hand: Hand, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that fails at one batch for good
    wait = JobHandle.wait

    def wait_while_one_fails(handle: JobHandle, **how: Any) -> JobHandle:
        hand.fail(1)
        hand.work()
        return wait(handle, **how)

    monkeypatch.setattr(JobHandle, "wait", wait_while_one_fails)
    # When a corpus is decoded, Then it is said how to go on, and the run is kept
    ran = run(*COMMAND)
    assert (ran.code, "batches that failed for good: 1; the same command tries them again" in ran.err) == (3, True)
    assert len(runs.all_kept(home)) == 1


def test_a_server_of_its_own_lives_in_the_folder_of_the_run_which_goes_with_the_last_row(
    run: Run, stacks: list[Ended], hand: Hand, interrupted: Callable[..., str], home: Path
) -> None:
    # Given a decode on a server of its own that was interrupted
    said = interrupted()
    assert f"interrupted; run the same command again to go on: 0 of {ROWS} rows are decoded" in said
    (kept,) = runs.all_kept(home)
    assert (kept.note.source, kept.folder.parent) == ("a.npy", home / "runs")
    # Which the doctor knows
    assert f"a.npy, job {kept.note.job_id}, begun " in run("doctor").out
    # And whoever waits for its job is told that it does not run
    ran = run("wait", kept.note.job_id)
    assert (ran.code, "the same command goes on with it" in ran.err) == (1, True)
    # When the same command comes to its end
    hand.start()
    ran = run(*COMMAND)
    # Then it was in the same folder, which is forgotten
    assert (ran.code, "going on with job" in ran.err) == (0, True)
    assert stacks == [Ended(kept.folder, is_forgotten=False), Ended(kept.folder, is_forgotten=True)]
    assert not kept.folder.exists()


def test_where_the_texts_cannot_be_written_they_are_kept_and_the_line_fetches_them(
    run: Run, stacks: list[Ended], hand: Hand, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that fills up while the results are written
    def full(*_: Any, **_options: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.parquet")

    hand.start()
    with monkeypatch.context() as patch:
        patch.setattr(decode_to_file, "write_results", full)
        # When a corpus is decoded
        ran = run(*COMMAND, "--home", home)
    # Then one line says so, and how to have the texts elsewhere
    (kept,) = runs.all_kept(home)
    assert ran.code == 1
    assert "ENOSPC" in ran.err
    assert f"unembed results {kept.note.job_id} -o ELSEWHERE --home {home}" in ran.err
    # And the same command only writes them
    assert run(*COMMAND).code == 0
    assert pq.read_table("out.parquet").num_rows == ROWS


def test_a_note_whose_server_does_not_answer_is_not_believed(
    run: Run, stacks: list[Ended], hand: Hand, home: Path
) -> None:
    # Given the note of a server that has ended, whose process number is another's by now
    home.mkdir()
    write_server(home, Server(url="http://127.0.0.1:9", pid=os.getpid()))
    # When a corpus is decoded, Then it is done on a server of its own, and the doctor calls the note stale
    hand.start()
    assert run(*COMMAND).code == 0
    assert len(stacks) == 1
    assert f"{home / 'server.json'} is stale: nothing answers" in run("doctor").out


def test_what_was_begun_on_a_server_of_its_own_is_ended_there_though_another_runs_by_now(
    run: Run, stacks: list[Ended], url: str, hand: Hand, interrupted: Callable[..., str], home: Path
) -> None:
    # Given an interrupted decode, and an `unembed up` that was started since
    interrupted()
    write_server(home, Server(url=url, pid=os.getpid()))
    # When the same command is run, Then it goes on where it was
    hand.start()
    ran = run(*COMMAND)
    assert (ran.code, "going on with job" in ran.err) == (0, True)
    assert len(stacks) == 2


def test_rm_removes_what_is_kept_of_an_interrupted_decode(
    run: Run, stacks: list[Ended], interrupted: Callable[..., str], home: Path
) -> None:
    # Given an interrupted decode, When its job is removed, Then nothing is kept of it
    interrupted()
    (kept,) = runs.all_kept(home)
    ran = run("rm", kept.note.job_id)
    assert (ran.code, "what was kept of the decode of a.npy" in ran.err) == (0, True)
    assert not kept.folder.exists()


@pytest.mark.parametrize("asked_for", [False, True])
def test_a_home_that_cannot_be_used_is_needed_only_if_it_was_asked_for(
    run: Run, stacks: list[Ended], hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: bool
) -> None:
    # Given a home where there is a file
    (tmp_path / "unembed").write_text("")
    monkeypatch.delenv("UNEMBED_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    hand.start()
    # When a corpus is decoded, Then it is an error where somebody named that home, and else only nothing is kept
    ran = run(*COMMAND, *(["--home", tmp_path / "unembed"] if asked_for else []))
    assert str(tmp_path / "unembed") in ran.err
    assert (ran.code, "so nothing is kept" in ran.err) == ((1, False) if asked_for else (0, True))


def test_a_server_elsewhere_needs_no_home(run: Run, server: str, hand: Hand, tmp_path: Path) -> None:
    # Given a home where there is a file, and a server
    (tmp_path / "unembed").write_text("")
    hand.start()
    # When a corpus is decoded there, Then it is, though the run cannot be kept
    ran = run(*COMMAND, "--home", tmp_path / "unembed")
    assert (ran.code, "so nothing is kept" in ran.err) == (0, True)


def test_a_disk_without_room_for_the_texts_is_found_before_the_work(
    run: Run, stacks: list[Ended], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    # Given a disk with 10 MiB free
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(home_space.shutil, "disk_usage", lambda _: usage._replace(free=10 * 1024**2))
    # When a corpus is decoded with that home, Then the error says how much is needed
    ran = run(*COMMAND, "--home", home)
    assert ran.code == 1
    assert f"the disk of {home} has 10.0 MiB free, but the texts of {ROWS} rows may take 16 MiB" in ran.err
    assert stacks == []


def test_a_disk_that_fills_up_while_nothing_moves_ends_the_wait(
    run: Run, stacks: list[Ended], hand: Hand, interrupted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a decode without a worker, whose home fills up
    def full(_: Path) -> None:
        raise CannotWorkError("the home folder cannot be written to: No space left on device (ENOSPC)")

    monkeypatch.setattr(watch, "require_writable", full)
    monkeypatch.setattr(watch, "_PROBES_EVERY", 0.0)
    # When it waits, Then it ends with the reason
    ran = run(*COMMAND)
    assert ran.code == 1
    assert "ENOSPC" in ran.err


def test_what_is_refused_leaves_nothing_to_go_on_with(run: Run, stacks: list[Ended], home: Path) -> None:
    # Given vectors of a dimension that the decoder does not read, and a decoder that nobody knows
    np.save("b.npy", np.ones((3, DIM + 1), np.float32))
    # When they are decoded, Then it is refused before anything starts
    assert run("decode", "b.npy", "-o", "o.csv", "--decoder", DECODER).code == 2
    assert run("decode", "a.npy", "-o", "o.csv", "--decoder", "nobody").code == 2
    assert (stacks, runs.all_kept(home)) == ([], [])


@pytest.mark.parametrize("value", ["gpu", "cuda:x"])
def test_a_device_that_is_none_is_refused_before_anything_starts(
    run: Run, stacks: list[Ended], home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("UNEMBED_DEVICE", value)
    ran = run(*COMMAND)
    assert (ran.code, f"UNEMBED_DEVICE is '{value}'; expected auto, cpu, cuda" in ran.err) == (2, True)
    assert (stacks, runs.all_kept(home)) == ([], [])


def test_what_was_left_for_weeks_is_removed(run: Run, stacks: list[Ended], hand: Hand, home: Path) -> None:
    # Given two runs, of which one was last touched a month ago, and one as old that was killed while it started
    old, new = (runs.begin(home / "runs" / name, name) for name in ("old", "new"))
    (home / "runs" / "stray").mkdir()
    (home / "runs" / "stray" / "lock").touch()
    for path in (old.folder / "run.json", home / "runs" / "stray" / "lock"):
        os.utime(path, (0, path.stat().st_mtime - 30 * 86_400))
    # When something is decoded, Then that one is gone, and it is said
    hand.start()
    ran = run(*COMMAND)
    assert ran.code == 0
    assert "removed what was kept of old" in ran.err
    assert sorted(path.name for path in (home / "runs").iterdir()) == ["new"]
    assert runs.all_kept(home) == [new]


class TestRuns:
    def test_a_key_is_that_of_what_decides_the_texts(self) -> None:
        assert runs.key_of(seed=1, name="a") == runs.key_of(name="a", seed=1)
        assert runs.key_of(seed=1, name="a") != runs.key_of(seed=2, name="a")

    def test_a_note_is_written_whole_and_read_back(self, tmp_path: Path) -> None:
        begun = runs.with_job(runs.begin(tmp_path / "k", "a.npy", "http://there"), "job1")
        assert runs.find(tmp_path / "k") == begun
        assert (begun.note.job_id, begun.note.url) == ("job1", "http://there")
        assert [path.name for path in (tmp_path / "k").iterdir()] == ["run.json"]

    @pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"source": "a"})])
    def test_a_damaged_note_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "run.json").write_text(text)
        assert runs.find(tmp_path) is None
