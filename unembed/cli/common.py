"""Options that verbs share by what they do: `--quiet` where something is said, a key where a server is asked.

They are added to the verbs here, so that no verb can lack them; none is a parameter of a verb's function.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from unembed.cli.console import hush
from unembed.errors import InputError
from unembed.home import key_in, known_key

WHERE_PANEL: Final = "Where it is decoded"
_KEY_OPTION, _FILE_OPTION = "--api-key", "--api-key-file"
_NEVER_QUIET: Final = frozenset({"serve", "worker", "flower", "doctor"})  # they log, or print what was asked for

_named: dict[str, str] = {}  # what --api-key and --api-key-file have named, in this run of the command line


def api_key() -> str | None:
    """The key to send: of --api-key, --api-key-file, UNEMBED_API_KEY or UNEMBED_API_KEY_FILE, the first that is given.

    Raises InputError where both options are given, and for a file that cannot be read or holds no key.
    """
    if len(_named) > 1:
        raise InputError("--api-key and --api-key-file are both given; expected one of them")
    if file := _named.get(_FILE_OPTION):
        return key_in(file, _FILE_OPTION)
    return known_key(_named.get(_KEY_OPTION))


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


def _take_quiet(given: bool) -> None:
    hush(given)


def _take_key(key: str | None) -> None:
    if key is not None:
        _named[_KEY_OPTION] = key


def _take_key_file(file: str | None) -> None:
    if file is not None:
        _named[_FILE_OPTION] = file


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
            _KEY_OPTION,
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
            _FILE_OPTION,
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
