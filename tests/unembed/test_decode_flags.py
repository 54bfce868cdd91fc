from __future__ import annotations

from inspect import signature
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from unembed.cli.decode import decode
from unembed.cli.decode_flags import decode_options, range_of, takes_decode_options
from unembed.cli.evaluate import evaluate
from unembed.cli.submit import submit
from unembed.errors import InputError
from unembed.schemas import DecodeOptions

FIELDS = DecodeOptions.model_fields


def test_every_field_has_a_flag_in_each_verb_that_decodes() -> None:
    # Given the verbs that take options of decoding, When their flags are listed
    for verb in (decode, submit, evaluate):
        flags = signature(verb).parameters
        # Then every field is among them, with the default that it has
        assert set(FIELDS) <= set(flags)
        own = {"round_trip"} if verb is evaluate else set()  # it embeds the texts itself, to score them
        assert all(flags[name].default == field.default for name, field in FIELDS.items() if name not in own)


def run(*args: str) -> tuple[int, str]:
    """Runs a verb that shows its options; the exit code, and the options or the error."""

    @takes_decode_options
    def verb(*, options: DecodeOptions) -> None:
        typer.echo(options.model_dump_json(exclude_defaults=True))
        given.append(options)

    given: list[DecodeOptions] = []
    app = typer.Typer()
    app.command()(verb)
    ran = CliRunner().invoke(app, args)
    assert all(None not in options.model_dump(exclude_unset=True).values() for options in given)
    return ran.exit_code, str(ran.exception.args[0]) if ran.exit_code else ran.output.strip()


def test_fast_is_one_candidate() -> None:
    assert run("--fast") == (0, '{"candidates":1}')
    # And what it does not rule out may be said beside it
    assert run("--fast", "--round-trip", "--temperature", "0.5") == (
        0,
        '{"candidates":1,"temperature":0.5,"round_trip":true}',
    )


@pytest.mark.parametrize("named", [["--candidates", "8"], ["--candidates", "1"], ["--edits", "2"], ["--beams", "4"]])
def test_fast_beside_what_it_rules_out_is_refused(named: list[str]) -> None:
    # Given --fast and a flag that it decides, even at its default, When they are parsed, Then the error names the flag
    code, said = run(*named, "--fast")
    assert code == 1
    assert said == f"--fast means --candidates 1, so it cannot go with {named[0]}; expected one or the other"


def test_the_help_of_a_flag_is_the_description_of_its_field_with_its_range() -> None:
    # Given a verb that takes the options
    @takes_decode_options
    def verb(*, where: Annotated[str, typer.Option()] = "here", options: DecodeOptions) -> None:
        raise AssertionError

    # When its help is shown, wide enough for one line each
    app = typer.Typer()
    app.command()(verb)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}).output
    # Then each field's description is there, and its range, and the verb's own flag
    for name, field in FIELDS.items():
        assert f"--{name.replace('_', '-')} " in shown
        assert f"{field.description}." in shown
        assert f"Takes {range_of(field)}." in shown or not range_of(field)
    assert "--where" in shown


@pytest.mark.parametrize(
    ("field", "words"),
    [("candidates", "1 to 64"), ("top_p", "more than 0, up to 1"), ("top_k", "0 to 100,000"), ("round_trip", "")],
)
def test_a_range_is_told_in_words(field: str, words: str) -> None:
    assert range_of(FIELDS[field]) == words


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("candidates", 65, "--candidates is 65; expected at most 64"),
        ("max_pieces", 0, "--max-pieces is 0; expected at least 1"),
        ("top_p", 0.0, "--top-p is 0.0; expected more than 0"),
        ("rank_by", "luck", "--rank-by is 'luck'; expected 'auto', 'sketch' or 'decoder'"),
    ],
)
def test_what_is_refused_is_named_by_its_flag(field: str, value: object, said: str) -> None:
    with pytest.raises(InputError) as refused:
        decode_options(**{field: value})
    assert refused.value.message == said
