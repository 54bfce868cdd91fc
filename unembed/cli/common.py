"""Options that verbs share by what they do: `--quiet` where something is said, a key where a server is asked.

They are added to the verbs here, so that no verb can lack them; none is a parameter of a verb's function.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from unembed.cli.console import hush
from unembed.errors import InputError

WHERE_PANEL: Final = "Where it is decoded"
_KEY_VARIABLE, _FILE_VARIABLE = "UNEMBED_API_KEY", "UNEMBED_API_KEY_FILE"
_NEVER_QUIET: Final = frozenset({"serve", "worker", "flower", "doctor"})  # they log, or print what was asked for

_named: dict[str, str] = {}  # what --api-key and --api-key-file have named, in this run of the command line


def api_key() -> str | None:
    """The key to send: of --api-key, --api-key-file, UNEMBED_API_KEY or UNEMBED_API_KEY_FILE, the first that is given.

    Raises InputError where both options are given, and for a file that cannot be read or holds no key.
    """
    if len(_named) > 1:
        raise InputError("--api-key and --api-key-file are both given; expected one of them")
    if key := _named.get("--api-key") or (None if _named else os.environ.get(_KEY_VARIABLE)):
        return key
    file = _named.get("--api-key-file") or os.environ.get(_FILE_VARIABLE)
    return _key_in(file, "--api-key-file" if _named else _FILE_VARIABLE) if file else None


def add_common_options(command: Any) -> None:
    """To a verb, or to each of the verbs of a group."""
    for one in getattr(command, "commands", {}).values():
        add_common_options(one)
    if hasattr(command, "commands"):
        return
    quiet, *keys = typer.main.get_command(_DONOR).params
    for option in (quiet, *keys):
        option.expose_value = False
    if command.name not in _NEVER_QUIET:
        command.params.append(quiet)
    if any(each.name == "url" for each in command.params):
        command.params.extend(keys)


def forget_common_options() -> None:
    """Before a command line is read: what an earlier one said in this process is over."""
    hush(False)
    _named.clear()


def _key_in(file: str, name: str) -> str:
    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{name} is {file!r}, which cannot be read: {why}; expected a file with a key") from error
    if not key:
        raise InputError(f"{name} is {file!r}, which is empty; expected a file with a key")
    return key


def _take_quiet(given: bool) -> None:
    hush(given)


def _take_key(key: str | None) -> None:
    if key is not None:
        _named["--api-key"] = key


def _take_key_file(file: str | None) -> None:
    if file is not None:
        _named["--api-key-file"] = file


_DONOR: Final = typer.Typer(add_completion=False)


@_DONOR.command()
def _options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Say nothing but warnings and errors: no progress, no remarks, no summary.",
            callback=_take_quiet,
            is_eager=True,
        ),
    ] = False,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="The key for the server. Others on this machine can see it in the list of processes: rather name a "
            "file, or set UNEMBED_API_KEY or UNEMBED_API_KEY_FILE.",
            show_default=False,
            callback=_take_key,
            is_eager=True,
            rich_help_panel=WHERE_PANEL,
        ),
    ] = None,
    api_key_file: Annotated[
        str | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help="A file that holds the key. Default: UNEMBED_API_KEY, then the file that UNEMBED_API_KEY_FILE names.",
            show_default=False,
            callback=_take_key_file,
            is_eager=True,
            rich_help_panel=WHERE_PANEL,
        ),
    ] = None,
) -> None:
    """Only its parameters are used."""
