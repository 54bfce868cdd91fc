"""A command line that cannot be understood, in words: what was found, what is expected, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup

from unembed.boundary import describe, did_you_mean
from unembed.errors import InputError

# typer exports only one of its kinds.
UsageError: Final = cast("type[Exception]", typer.BadParameter.__base__)
_NO_CHOICE: Final = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<choices>.*?)\.?", re.DOTALL)
_NO_VALUE: Final = re.compile(r"Option '(?P<option>.*)' requires an argument\.?")
_TOO_MANY: Final = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<given>.*)\)\.?", re.DOTALL)

# What other programs call a verb.
_MEANS: Final = {
    "delete": "rm",
    "download": "results",
    "follow": "status",
    "get": "results",
    "help": "--help",
    "info": "status",
    "jobs": "ls",
    "kill": "cancel",
    "list": "ls",
    "models": "decoders",
    "ps": "ls",
    "remove": "rm",
    "show": "status",
    "start": "up",
    "stop": "cancel",
    "version": "--version",
    "watch": "status",
}


class VerbsInWords(TyperGroup):
    """A group that says of an unknown verb which one was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        given, verbs = args[0], self.list_commands(ctx)
        if not ctx.resilient_parsing and given not in verbs and not given.startswith("-"):
            means = _MEANS.get(given)
            if means in (*verbs, "--help", "--version"):
                ctx.fail(f"there is no verb {given!r}. Did you mean {means!r}?")
            ctx.fail(f"there is no verb {given!r}{did_you_mean(given, verbs)}")
        return super().resolve_command(ctx, args)


def is_plea_for_help(error: Exception) -> bool:
    """Whether nothing was asked for, so that the verbs are shown, and no error is."""
    return type(error).__name__ == "NoArgsIsHelpError"


def usage_error(error: Any, given: Sequence[str]) -> InputError:
    """What typer could not understand of this command line, on one line, with the way to the help."""
    said = _in_words(error)
    command = error.ctx.command_path if error.ctx else " ".join(["unembed", *given[:1]])
    return InputError(f"{said}{'' if said.endswith('?') else ';'} see {command} --help")


def _in_words(error: Any) -> str:
    said, param = str(error.message), getattr(error, "param", None)
    if found := _NO_VALUE.fullmatch(said):
        return f"{found['option']} has no value"
    if found := _TOO_MANY.fullmatch(said):
        return f"{found['given']!r} is one argument too many"
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        known = [name for each in error.ctx.command.get_params(error.ctx) for name in each.opts + each.secondary_opts]
        return f"there is no option {option!r}{did_you_mean(option, known)}"
    if param is None:
        return _plain(said)
    name = error.param_hint if isinstance(error.param_hint, str) else _name_of(param)
    if not said:
        return f"{name} is missing{_that_is(param)}"
    if found := _NO_CHOICE.fullmatch(said):
        choices = [each.strip().strip("'") for each in found["choices"].split(",")]
        expected = f"{name} is {found['given']!r}; expected {', '.join(choices)}"
        return expected + did_you_mean(found["given"], choices)
    if hasattr(error.__cause__, "errors"):
        return describe(_Placed(error.__cause__.errors(), name))
    return f"{name}: {_plain(said)}"


class _Placed:
    """What pydantic found in one value, as if it had found it in a field of this name."""

    def __init__(self, found: Sequence[Any], name: str) -> None:
        self._found = [{**each, "loc": (name,)} for each in found]

    def errors(self) -> Sequence[Any]:
        return self._found


def _name_of(param: Any) -> str:
    """As it is typed: --output (-o), or IN."""
    names: list[str] = sorted(param.opts, key=lambda name: not name.startswith("--"))
    long, *others = names
    if not long.startswith("-"):
        return str(param.metavar or long.upper())
    return long + (f" ({', '.join(others)})" if others else "")


def _that_is(param: Any) -> str:
    """The first sentence of its help."""
    meaning: str | None = getattr(param, "help", None)
    return f": {_plain(meaning.partition('. ')[0])}" if meaning else ""


def _plain(said: str) -> str:
    """Without a capital and a full stop, as the other errors are."""
    said = said.removeprefix("Value error, ").removesuffix(".")
    return said[:1].lower() + said[1:]
