"""`unembed embed`, `evaluate` and `train`, as they are typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.models.decoder.toy import TEXTS, random_checkpoint, vectors
from tests.models.training.worded import worded
from tests.unembed.conftest import Ran, Run
from unembed.cli.train import progress_line
from unembed.models.training.recipe import Progress

UNEMBED = [sys.executable, "-c", "from unembed.cli import main; main()"]


@pytest.fixture
def unembed(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command line in this process, which has torch: to import it takes longer than most of these verbs."""
    threads = torch.get_num_threads()

    def typed(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["unembed", *map(str, args)])  # what pages and cards say they were made by
        return run(*args)

    yield typed
    torch.set_num_threads(threads)  # of the process, which --threads has changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """toys.txt and toys.npy, 36 texts with their vectors."""
    (tmp_path / "toys.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "toys.npy", vectors())
    return tmp_path


def test_embed_writes_a_corpus_with_the_texts_beside_the_vectors(unembed: Run, folder: Path) -> None:
    done = unembed("embed", "toys.txt", "-o", "toys.parquet")
    assert done.code == 0, done.err
    table = pq.read_table(folder / "toys.parquet")
    assert table["text"].to_pylist() == TEXTS
    assert table["embedding"].type.list_size == 384
    assert "36 of 36 texts" in done.err


def test_embed_refuses_a_suffix_that_it_cannot_write(unembed: Run, folder: Path) -> None:
    done = unembed("embed", "toys.txt", "-o", "toys.xlsx")
    assert done.code == 2
    assert "cannot write 'toys.xlsx'; expected a name ending in .npy or .parquet" in done.err


def test_evaluate_prints_the_scores_as_json_on_stdout(unembed: Run, folder: Path) -> None:
    random_checkpoint(folder / "toy")
    done = unembed("evaluate", "./toy", "--set", "toys=toys.txt,toys.npy", "--json")
    assert done.code == 0, done.err
    scores = json.loads(done.out)["toys"]
    assert scores["rows"] == 36
    assert scores["round_trip"] is None, "the toy names no encoder"


def test_evaluate_writes_a_page_to_read(unembed: Run, folder: Path) -> None:
    # Given a decoder, and a set of texts
    random_checkpoint(folder / "toy")
    sets = ["--set", "toys=toys.txt,toys.npy"]
    # When a report is asked for
    done = unembed("evaluate", "./toy", *sets, "--report", "toys.html", "--json")
    # Then there is a page with the scores that were printed, and the command that made it
    assert done.code == 0, done.err
    assert "wrote the report to toys.html" in done.err
    page = (folder / "toys.html").read_text()
    assert f"{json.loads(done.out)['toys']['word_f1']:.3f}" in page
    assert "evaluate ./toy --set toys=toys.txt,toys.npy --report toys.html" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toys.pdf", "cannot write 'toys.pdf'; expected a name ending in .html"),
        ("gone/toys.html", "cannot write 'gone/toys.html'; 'gone' is not a folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_decoded(
    unembed: Run, folder: Path, name: str, message: str
) -> None:
    done = unembed("evaluate", "./nothing", "--set", "toys=toys.txt", "--report", name)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no texts to score on; expected at least one --set NAME=TEXTS"),
        (["--set", "a="], "cannot read the set 'a='; expected [NAME=]TEXTS"),
        (["--set", "a=gone.txt"], "the set 'a=gone.txt' names 'gone.txt', which does not exist"),
    ],
)
def test_evaluate_names_what_it_cannot_read(unembed: Run, folder: Path, args: list[str], message: str) -> None:
    done = unembed("evaluate", *args)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_train_needs_embeddings_or_an_encoder(unembed: Run, folder: Path) -> None:
    done = unembed("train", "--set", "toys=toys.txt", "-o", "mine")
    assert done.code == 2
    assert "toys has texts but no embeddings; expected embeddings or an encoder" in done.err


def test_a_training_that_is_interrupted_saves_and_goes_on(folder: Path) -> None:
    # Given a training that would take long
    args = ["train", "--set", "toys=toys.txt,toys.npy", "-o", "mine", "--minutes", "0.4", "--epochs", "1000000"]
    command = [*UNEMBED, *args, "--batch-pieces", "128", "--report-every", "5"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        while "step " not in (line := training.stderr.readline()):
            assert line, "it ended before its first report"
        # When it is interrupted
        training.send_signal(signal.SIGINT)
        rest = training.stderr.read()
        # Then it saves, says how to go on, and ends as interrupted programs do
        assert training.wait(timeout=60) == 130, rest
    assert "the same command continues" in rest
    assert (folder / "mine" / "run" / "state.safetensors").exists()
    # And the same command takes it up, to its end
    again = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False, env=dict(os.environ)
    )
    assert again.returncode == 0, again.stderr
    assert "continuing from step" in again.stderr
    assert "wrote the decoder 'mine'" in again.stderr
    assert (folder / "mine" / "README.md").exists()


INTERRUPTED_AS_IT_SAYS = """
import io, os, signal, sys
from unembed.cli.console import say
from unembed.cli.train import stop_on_interrupt

class Interrupted(io.RawIOBase):
    def writable(self):
        return True
    def write(self, line):
        if not asked:
            os.kill(os.getpid(), signal.SIGINT)
        return os.write(2, line)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Interrupted()), line_buffering=True)
asked = stop_on_interrupt()
say("step 5/100")
say("saved" if asked else "not asked")
"""


def test_ctrl_c_while_a_report_is_written_is_no_crash() -> None:
    # Given a program that is interrupted in the middle of writing to stderr, whose buffer cannot be entered twice
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_AS_IT_SAYS], capture_output=True, text=True, check=False)
    # Then it is told to stop, and ends in order
    assert done.returncode == 0, done.stderr
    assert sorted(done.stderr.splitlines()) == [
        "saved",
        "step 5/100",
        "stopping after this step; press Ctrl-C again to stop without saving",
    ]


def test_a_training_from_a_base_with_patience_writes_its_curves(unembed: Run, folder: Path) -> None:
    # Given a decoder to begin with
    random_checkpoint(folder / "base")
    # When one is trained from it, as patient as can be
    args = ["--set", "toys=toys.txt,toys.npy", "--dev", "held=toys.txt,toys.npy", "--start-from", "./base"]
    args += ["--epochs", "2", "--patience", "50", "--report-every", "1", "--score-rows", "5", "--passes", "2"]
    done = unembed("train", *args, "-o", "mine")
    # Then it says from what it starts and how good it is, and the page is there
    assert done.code == 0, done.err
    assert "starting from 'toy'" in done.err
    assert "(BLEU " in done.err
    assert "How mine was trained" in (folder / "mine" / "training.html").read_text()
    card = (folder / "mine" / "README.md").read_text()
    assert all(flag in card for flag in ("--start-from ./base@", "--passes 2", "--patience 50"))


def test_the_command_on_a_card_gives_the_same_weights_again(
    unembed: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Given a decoder that was trained from another, of texts from two files, with options of all kinds
    random_checkpoint(folder / "base")
    table = pa.table({"words": TEXTS, "ours": list(vectors())})
    (folder / "my data").mkdir()
    pq.write_table(table, folder / "my data" / "toys.parquet")
    args = ["--set", "toys=toys.txt,toys.npy", "--set", "my data/toys.parquet:words:ours", "--start-from", "./base"]
    args += ["--dev", "held=toys.txt,toys.npy", "--epochs", "3", "--seed", "7", "--noise", "0.2", "--threads", "1"]
    args += ["--report-every", "2", "--batch-pieces", "128", "--licence", "CC0, ours", "--score-rows", "0"]
    assert unembed("train", *args, "-o", "runs/mine").code == 0
    card = (folder / "runs" / "mine" / "README.md").read_text()
    command = re.search(r"```console\n\$ unembed (train .*?)\n```", card, re.DOTALL)
    assert command is not None
    # When the same texts and the same base lie elsewhere, and the card's command is run there
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("base", "my data"):
        shutil.copytree(folder / name, elsewhere / name)
    for name in ("toys.txt", "toys.npy"):
        shutil.copy(folder / name, elsewhere)
    monkeypatch.chdir(elsewhere)
    done = unembed(*shlex.split(command[1].replace("\\\n", " ")))
    # Then weights and card are the same, but for the time that it took
    assert done.code == 0, done.err
    first, second = (each / "runs" / "mine" for each in (folder, elsewhere))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    again = (second / "README.md").read_text().splitlines()
    assert [line for line in card.splitlines() if line not in again and not line.startswith("- time: ")] == []


def test_a_base_with_other_weights_than_those_of_the_card_is_refused(unembed: Run, folder: Path) -> None:
    random_checkpoint(folder / "base")
    done = unembed("train", "--set", "toys.txt,toys.npy", "-o", "mine", "--start-from", "./base@0123456789abcdef")
    assert done.code == 1
    assert "the weights of 'toy' have the sha256 " in done.err
    assert "…, not 0123456789abcdef…; expected those that the run was started from" in done.err


def test_the_check_can_be_had_without_the_training(unembed: Run, folder: Path) -> None:
    # Given texts with their vectors, of which some repeat
    (folder / "toys.txt").write_text("\n".join([*TEXTS[:30], *[TEXTS[0]] * 6]) + "\n")
    # When they are only looked at
    done = unembed("train", "--set", "toys.txt,toys.npy", "-o", "mine", "--check", "only", "--epochs", "50")
    # Then it is said what there is and what to expect, and nothing is trained or kept
    assert done.code == 0, done.err
    assert "toys: 6 of 36 texts repeat others; 'I see the sea.' 7 times" in done.err
    assert "36 texts, from nothing: expect a word F1 of about" in done.err
    assert "of training at" in done.err
    assert not [path for path in (folder / "mine").rglob("*") if path.is_file()]


def test_texts_and_vectors_that_do_not_belong_together_are_refused_unless_that_is_wanted(
    unembed: Run, folder: Path
) -> None:
    # Given texts and vectors in another order
    mixed = worded(300)
    (folder / "mixed.txt").write_text("\n".join(mixed.texts) + "\n")
    np.save(folder / "mixed.npy", mixed.vectors[::-1])
    args = ["train", "--set", "mixed.txt,mixed.npy", "-o", "mine", "--check"]
    # When a decoder is to be trained on them, Then that is refused
    done = unembed(*args, "only")
    assert done.code == 2
    assert "mixed: the embeddings do not belong to the texts: " in done.err
    assert "to use it all the same, say --check no" in done.err
    # And it is not, where no check is wanted
    random_checkpoint(folder / "base")
    assert unembed(*args, "no", "--epochs", "0.1", "--start-from", "./base").code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--start-from", "nobody"], "unknown decoder 'nobody'"),
        (["--start-from", "./base", "--architecture", "resource_efficient_v2"], "'toy' is a resource_efficient_v21"),
        (["--patience", "3"], "patience is 3, but there is no dev set; expected at least one --dev"),
    ],
)
def test_a_training_that_cannot_begin_is_refused(unembed: Run, folder: Path, args: list[str], message: str) -> None:
    random_checkpoint(folder / "base")
    done = unembed("train", "--set", "toys=toys.txt,toys.npy", "-o", "mine", *args)
    assert done.code != 0
    assert message in done.err
    assert "Traceback" not in done.err


def test_tune_prints_the_command_that_trains_with_the_best_recipe(unembed: Run, folder: Path) -> None:
    # Given texts with their vectors, and held-out ones
    args = ["--set", "toys=toys.txt,toys.npy", "--dev", "held=toys.txt,toys.npy"]
    # When two recipes are tried
    done = unembed("tune", *args, "--trials", "2", "--epochs", "1", "-o", "search")
    # Then stdout is one command, which begins as the search did, and stderr has the table
    assert done.code == 0, done.err
    assert done.out.startswith(f"unembed train {' '.join(args)} ")
    assert done.out.endswith("--out search/best\n")
    assert done.out.count("\n") == 1
    assert "dev loss" in done.err


def test_a_bank_is_made_of_texts_and_their_embeddings_and_can_be_evaluated(unembed: Run, folder: Path) -> None:
    # Given texts with their vectors, When a bank is made of them
    done = unembed("bank", "toys.txt,toys.npy", "-o", "phrases", "--threshold", "0.5")
    assert done.code == 0, done.err
    assert "wrote the phrase bank 'phrases' to phrases: 36 different phrases" in done.err
    # Then it is a decoder, which knows them all
    args = ["--set", "toys=toys.txt,toys.npy", "--no-round-trip", "--json"]
    scored = unembed("evaluate", "./phrases", *args)
    assert json.loads(scored.out)["toys"]["exact"] == 1.0, scored.err


def test_a_bank_whose_embeddings_do_not_fit_is_refused(unembed: Run, folder: Path) -> None:
    np.save(folder / "few.npy", vectors(3))
    done = unembed("bank", "toys.txt,few.npy", "-o", "phrases")
    assert done.code == 2
    assert "36 texts need embeddings of shape (36, dim), not float32 of shape (3, 16)" in done.err


def test_a_hybrid_is_learnt_of_a_decoder_and_a_bank(unembed: Run, folder: Path) -> None:
    # Given a decoder and a bank of the same texts
    random_checkpoint(folder / "toy")
    assert unembed("bank", "toys.txt,toys.npy", "-o", "phrases").code == 0
    # When they are joined on held-out texts
    args = ["--decoder", "toy", "--bank", "phrases", "--dev", "toys=toys.txt,toys.npy"]
    done = unembed("hybrid", "-o", "both", *args)
    # Then it says what it learnt, and the hybrid can be evaluated
    assert done.code == 0, done.err
    assert "word F1 of the decoder" in done.err
    scored = unembed("evaluate", "./both", "--set", "toys=toys.txt,toys.npy", "--json")
    assert json.loads(scored.out)["toys"]["exact"] == 1.0, scored.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--decoder", "gone"], "unknown decoder 'gone'"),
        (
            ["--dev", "toys=toys.txt,toys.npy"],
            "--dev needs a phrase bank to compare the decoder with; expected --bank too",
        ),
        (["--margin", "3"], "--margin"),
    ],
)
def test_a_hybrid_that_cannot_be_made_is_refused(unembed: Run, folder: Path, args: list[str], message: str) -> None:
    done = unembed("hybrid", "-o", "both", *args)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("step", "seconds", "shown"),
    [(1, 0.0, "1.0 s so far, at most 1.0 s left"), (50, 90.0, "90 s so far, at most 90 s left"), (100, 600.0, "done")],
)
def test_a_line_of_progress_is_sensible_at_the_start_and_at_the_end(step: int, seconds: float, shown: str) -> None:
    assert shown in progress_line(Progress(step, 100, 1.0, 2.0, {}, 5000.0, seconds))


def test_what_is_left_is_no_more_than_the_minutes_that_were_asked_for() -> None:
    # Given a run for two minutes, at whose pace all steps would take fifteen
    begun = Progress(10, 100, 1.0, 2.0, {}, 5000.0, 90.0, minutes=2.0)
    # Then what is said to be left is what is left of the two
    assert "90 s so far, at most 30 s left" in progress_line(begun)


def test_adapt_says_how_many_texts_are_too_few(unembed: Run, folder: Path) -> None:
    done = unembed("adapt", "--set", "toys.txt,toys.npy", "--out", "mine")
    assert done.code == 2
    assert "36 different texts with embeddings are too few to adapt a decoder to; expected at least 50" in done.err
    assert not (folder / "mine").exists()
