"""The `unembed train` command that a plan is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from unembed.cli.train import train
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.command import command_of, shown_command
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Check, Recipe, StartingDecoder

TEXTS = TextSet("mine", "texts.txt", "my vectors.npy")
RECIPE = Recipe(
    epochs=3, minutes=2.5, batch_pieces=128, peak_learning_rate=1e-3, noise=0.2, embedding_dropout=0.1,
    weight_decay=0.1, augment=1.5, seed=7, patience=4, base=StartingDecoder("base", "0123456789abcdef" * 4, 384),
)  # fmt: skip
PLAN = Plan(
    name="mine", folder=Path("runs/mine"), train=(TEXTS,), dev=(replace(TEXTS, name="held-out"),),
    encoder="fastembed:x", licence="CC0", recipe=RECIPE, architecture="resource_efficient_v2", max_pieces=40,
    passes=2, gated_units=8, start_from="./base", report_every=50, score_rows=10, check=Check.NO,
)  # fmt: skip


def test_every_option_of_train_is_on_the_card_where_it_is_not_the_default() -> None:
    command = typer.main.get_command(_app())
    options = {max(each.opts, key=len) for each in command.params}
    assert options - set(command_of(PLAN, RECIPE, 1)) == {"--yes"}  # whoever repeats it is asked before it costs


def test_defaults_are_not_spelled_out() -> None:
    plain = Plan("mine", Path("runs/mine"), (TEXTS,), (), None, "not stated", Recipe())
    assert command_of(plain, Recipe()) == [
        *("unembed", "train", "--set", "mine=texts.txt,my vectors.npy", "--out", "runs/mine")
    ]


def test_a_base_is_named_with_the_beginning_of_its_weights_hash() -> None:
    assert "./base@0123456789abcdef" in command_of(PLAN, RECIPE)
    assert "./base@01234567" in command_of(replace(PLAN, start_from="./base@01234567"), RECIPE)


def test_no_password_is_on_a_card() -> None:
    one = TextSet.parse("docs=postgresql://me:secret@h/db?sslmode=require#select text, embedding from docs")
    assert "docs=postgresql://me@h/db#select text, embedding from docs" in command_of(
        replace(PLAN, train=(one,)), RECIPE
    )


def test_a_shell_reads_it_as_it_was_meant() -> None:
    assert shown_command(["unembed", "train", "--set", "a b", "--out", "runs"]) == (
        "unembed train \\\n    --set 'a b' \\\n    --out runs"
    )


def _app() -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command()(train)
    return app
