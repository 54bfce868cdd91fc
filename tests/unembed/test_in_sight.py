"""What a person sees who works with the client: a bar while it runs, and values that show themselves."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand
from unembed import progress
from unembed.client import Client
from unembed.html_tables import html_table
from unembed.listed import DecoderList, RowList
from unembed.schemas import DecoderInfo, Generation, JobPage, RowStatus

SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
V = np.ones((25, DIM), np.float32)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """From its call on, a terminal stands for stderr: pytest sets its own between a fixture and its test."""

    def begin() -> Terminal:
        terminal = Terminal()
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return begin


class Cell:
    """A cell of a notebook, as far as IPython shows something in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[str] = []
        handle = SimpleNamespace(update=lambda html: self.shown.append(html))

        def display(html: str, *, display_id: bool) -> Any:
            self.shown.append(html)
            return handle

        shell = SimpleNamespace(kernel=object())
        ipython = SimpleNamespace(get_ipython=lambda: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))


def test_in_a_terminal_there_is_a_bar(url: str, hand: Hand, at_a_terminal: Callable[[], Terminal]) -> None:
    # Given somebody who looks at a terminal, and a worker
    hand.start()
    terminal = at_a_terminal()
    with Client(url) as client:
        # When a corpus is sent and waited for, Then both are seen on stderr
        client.submit(V, decoder=DECODER).wait(60)
    assert "sent" in terminal.getvalue()
    assert "25/25" in terminal.getvalue()
    assert "decoded" in terminal.getvalue()


@pytest.mark.parametrize("where", ["client", "verb"])
def test_a_bar_that_is_not_wanted_is_not_there(
    url: str, hand: Hand, at_a_terminal: Callable[[], Terminal], where: str
) -> None:
    hand.start()
    terminal = at_a_terminal()
    of_client: dict[str, Any] = {"progress": False} if where == "client" else {}
    of_verb: dict[str, Any] = {"progress": False} if where == "verb" else {}
    with Client(url, **of_client) as client:
        client.submit(V, decoder=DECODER, **of_verb).wait(60, **of_verb)
    assert terminal.getvalue() == ""


def test_whoever_listens_themselves_gets_no_bar_besides(url: str, at_a_terminal: Callable[[], Terminal]) -> None:
    seen: list[tuple[int, int]] = []
    terminal = at_a_terminal()
    with Client(url) as client:
        client.submit(V, decoder=DECODER, progress=lambda *at: seen.append(at))
    assert seen == [(25, 25)]
    assert terminal.getvalue() == ""


def test_where_nobody_looks_there_is_no_bar(url: str, hand: Hand) -> None:
    # Given a script whose stderr is a pipe, When it submits and waits, Then it says nothing
    hand.start()
    script = (
        "import numpy as np\nfrom unembed import Client\n"
        f"client = Client({url!r})\n"
        f"client.submit(np.ones((25, {DIM}), np.float32), decoder={DECODER!r}).wait(60)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_in_a_notebook_the_bar_is_in_the_page(url: str, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a notebook, and a worker
    cell = Cell(monkeypatch)
    hand.start()
    with Client(url) as client:
        # When a corpus is sent and waited for, Then both are shown in the cell, and stay as they ended
        client.submit(V, decoder=DECODER).wait(60)
    assert '<progress max="25" value="25"></progress> sent 25/25' in cell.shown
    assert cell.shown[-1] == '<progress max="25" value="25"></progress> decoded 25/25, succeeded'


def test_a_bar_says_why_a_job_waits_and_cannot_be_steered() -> None:
    # Given an error of a worker that would steer a page or a terminal, When it is shown, Then it is text
    assert ESCAPED in progress.bar_html("decoded", 1, 2, SCRIPT)
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with progress.bars(console) as bars:
        bars._show("decoded", 1, 2, "[link=http://evil]x[/link]")
    assert "[link=http://evil]x[/link]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_values_show_themselves_in_a_notebook(client: Client, hand: Hand) -> None:
    # Given a job with a name that would run in a page
    job = client.submit(V, decoder=DECODER, name=SCRIPT)
    hand.work()
    job.refresh()
    # When it, its page, its rows and the decoders are shown, Then they are tables, and nothing in them runs
    for shown in (job._repr_html_(), client.jobs()._repr_html_()):
        assert shown.startswith("<table>")
        assert (ESCAPED in shown, SCRIPT in shown, job.id in shown, "25/25" in shown) == (True, False, True, True)
    head = job.head(2)
    assert isinstance(head, RowList)
    assert "<td>text 1</td>" in head._repr_html_()
    decoders = client.decoders()
    assert isinstance(decoders, DecoderList)
    assert f"<td>{DECODER}</td>" in decoders._repr_html_()


def test_a_text_that_is_a_script_is_shown_as_its_letters() -> None:
    # Given a corpus that decodes to markup, with ids and errors that are some, When it is shown, Then all is escaped
    row = Generation(index=0, id=SCRIPT, text=SCRIPT, status=RowStatus.OK, error=SCRIPT)
    shown = RowList([row])._repr_html_()
    assert shown.count(ESCAPED) == 3
    assert "<script" not in shown
    encoder = DecoderInfo(name=SCRIPT, embedding_dim=4, architecture="a", encoder=SCRIPT)
    assert "<script" not in DecoderList([encoder])._repr_html_()
    assert "<b>" not in html_table(["<b>"], [["<b>"]], "<b>")


def test_a_long_text_is_cut() -> None:
    assert "x…</td>" in html_table(["text"], [["x" * 1000]])


def test_what_is_printed_is_short(client: Client) -> None:
    # Given a job and its page, When they are printed, Then each is a line that says which and how far
    job = client.submit(V, decoder=DECODER)
    assert repr(job) == f"<JobHandle {job.id} queued 0/25>"
    assert repr(job.job) == f"<Job {job.id} queued 0/25>"
    assert repr(client.jobs()) == "<JobPage of 1 job>"
    assert repr(JobPage(jobs=[], next_cursor="x")) == "<JobPage of 0 jobs, with more after it>"
    assert repr(client) == f"<Client {client.url}>"
    row = Generation(index=3, text="a" * 1000, status=RowStatus.OK)
    assert repr(row) == f"<Generation 3 ok {'a' * 60!r}>"
    error = Generation(index=4, error="no vector", status=RowStatus.ERROR)
    assert repr([error]) == "[<Generation 4 error 'no vector'>]"


def test_a_client_that_is_printed_keeps_its_key() -> None:
    assert "secret" not in repr(Client("http://127.0.0.1:1", "secret"))
