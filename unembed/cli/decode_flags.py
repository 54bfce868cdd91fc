"""The flags of decoding: one for each field of DecodeOptions, made from it, and `--fast`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from unembed.boundary import describe
from unembed.cli.completion import complete_words
from unembed.errors import InputError
from unembed.schemas import GREEDY, DecodeOptions

PANEL: Final = "How it is decoded"
Fast = Annotated[
    bool, typer.Option("--fast", help="Decode greedily, the fastest way: --candidates 1.", rich_help_panel=PANEL)
]
_OPTIONS: Final = "options"  # the parameter that the flags stand in for
_SLOWER: Final = ("candidates", "edits", "beams")  # what cannot be said beside --fast


def takes_decode_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with a flag for each field of DecodeOptions, and `--fast`, instead of its parameter `options`.

    A field that the verb has a parameter of its own for gets no flag here, and keeps its default in `options`.
    """
    plain = signature(verb, eval_str=True).parameters
    fields = [name for name in DecodeOptions.model_fields if name not in plain]

    def parameters() -> Iterator[Parameter]:
        for name, parameter in plain.items():
            if name == _OPTIONS:
                yield Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
                yield Parameter("fast", Parameter.KEYWORD_ONLY, default=False, annotation=Fast)
                yield from map(_parameter, fields)
            else:
                yield parameter.replace(kind=Parameter.KEYWORD_ONLY)

    @wraps(verb)
    def with_flags(**given: Any) -> None:
        context, values = given.pop("context"), {name: given.pop(name) for name in fields}
        if given.pop("fast"):
            values |= _fast(context)
        # What is not given is not said: a server of an older version may know no null there.
        verb(**given, options=decode_options(**{name: value for name, value in values.items() if value is not None}))

    shown = list(parameters())
    with_flags.__signature__ = signature(verb).replace(parameters=shown)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {each.name: each.annotation for each in shown}
    return with_flags


def decode_options(**values: Any) -> DecodeOptions:
    """The options; InputError that names the flag, its value and what was expected."""
    try:
        return DecodeOptions.model_validate(values)
    except ValidationError as error:
        raise InputError(describe(error, name=_flag_name)) from None


def _fast(context: typer.Context) -> dict[str, Any]:
    """What --fast stands for. Raises InputError when the command line also names what it rules out."""
    sources = {name: context.get_parameter_source(name) for name in _SLOWER}
    if named := [_flag_name(name) for name, source in sources.items() if source and source.name == "COMMANDLINE"]:
        beside = " or ".join(named)
        raise InputError(f"--fast means --candidates 1, so it cannot go with {beside}; expected one or the other")
    return {"candidates": GREEDY.candidates}


def flag(field: str) -> Any:
    """The typer.Option of this field of DecodeOptions."""
    info = DecodeOptions.model_fields[field]
    limits = range_of(info)
    meaning = f"{info.description}." + (f" Takes {limits}." if limits else "")
    return typer.Option(
        _flag_name(field),
        help=meaning,
        show_default=info.default is not None,
        autocompletion=complete_words(get_args(info.annotation)) if _is_choice(info) else None,
        rich_help_panel=PANEL,
    )


def range_of(field: FieldInfo) -> str:
    """The numbers that the field takes, in words; nothing for a field without limits."""
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=least):
                words.append(f"{least:,g}")
            case Gt(gt=below):
                words.append(f"more than {below:,g}, up")
            case Le(le=most):
                words.append(f"{most:,g}")
    return " to ".join(words)


def _flag_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def _is_choice(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal


def _parameter(field: str) -> Parameter:
    info = DecodeOptions.model_fields[field]
    # A choice is a plain word here, so that pydantic's refusal of it reads like those of the others.
    taken = str if _is_choice(info) else info.annotation
    return Parameter(field, Parameter.KEYWORD_ONLY, default=info.default, annotation=Annotated[taken, flag(field)])
