"""The verbs of the command line, and where each of them is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Final, NamedTuple

import typer

from unembed.boundary import as_unembed_error, show_traceback
from unembed.cli.common import add_common_options, forget_common_options
from unembed.cli.console import EXIT_MEANINGS, Exit, fail, say
from unembed.cli.usage import UsageError, VerbsInWords, is_plea_for_help, usage_error
from unembed.quick_imports import quick_imports


class Verb(NamedTuple):
    """`unembed.cli.<module>.<name>`: a function, or a typer.Typer whose commands come after the verb."""

    module: str
    name: str
    panel: str


_DECODE: Final = "Decode"
_SERVE: Final = "Serve"
_TRAIN: Final = "Train"

VERBS: Final = {
    "decode": Verb("decode", "decode", _DECODE),
    "submit": Verb("submit", "submit", _DECODE),
    "status": Verb("status", "status", _DECODE),
    "wait": Verb("wait", "wait", _DECODE),
    "results": Verb("results", "results", _DECODE),
    "cancel": Verb("cancel", "cancel", _DECODE),
    "retry": Verb("retry", "retry", _DECODE),
    "rm": Verb("rm", "rm", _DECODE),
    "ls": Verb("ls", "ls", _DECODE),
    "open": Verb("open_page", "open_page", _DECODE),
    "decoders": Verb("decoders", "decoders", _DECODE),
    "demo": Verb("demo", "demo", _DECODE),
    "up": Verb("up", "up", _SERVE),
    "serve": Verb("serve", "serve", _SERVE),
    "worker": Verb("worker", "worker", _SERVE),
    "flower": Verb("flower", "flower", _SERVE),
    "db": Verb("db", "app", _SERVE),
    "keys": Verb("keys", "app", _SERVE),
    "doctor": Verb("doctor", "doctor", _SERVE),
    "train": Verb("train", "train", _TRAIN),
    "tune": Verb("tune", "tune", _TRAIN),
    "adapt": Verb("adapt", "adapt", _TRAIN),
    "evaluate": Verb("evaluate", "evaluate", _TRAIN),
    "embed": Verb("embed", "embed", _TRAIN),
    "encoders": Verb("encoders", "app", _TRAIN),
    "bank": Verb("bank", "bank", _TRAIN),
    "hybrid": Verb("hybrid", "hybrid", _TRAIN),
    "add-sketch": Verb("add_sketch", "add_sketch", _TRAIN),
    "add-calibration": Verb("add_calibration", "add_calibration", _TRAIN),
    "add-manifold": Verb("add_manifold", "add_manifold", _TRAIN),
    "add-self-test": Verb("add_self_test", "add_self_test", _TRAIN),
    "compare": Verb("compare", "compare", _TRAIN),
}


class VerbGroup(VerbsInWords):
    """Imports a verb's module when the verb is called for, so that `unembed ls` does not pay for the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [verb for verb, (module, _, _) in VERBS.items() if find_spec(f"unembed.cli.{module}")]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _command(cmd_name, VERBS[cmd_name])
        return self.commands[cmd_name]


app = typer.Typer(
    name="unembed",
    cls=VerbGroup,
    no_args_is_help=True,
    invoke_without_command=True,
    epilog="\n\n".join(["Exit codes:", *(f"{code.value}  {meaning}" for code, meaning in EXIT_MEANINGS.items())]),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # they could show a key
)


@app.callback()
def unembed(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Turn corpora of sentence embeddings back into text."""
    if version:
        from unembed import __version__

        typer.echo(__version__)
        raise typer.Exit


def run(args: Sequence[str] | None) -> None:
    """Ends the process with one of the codes of `unembed.cli.console.Exit`; `args` default to those of the process."""
    given = list(sys.argv[1:] if args is None else args)
    forget_common_options()
    try:
        code = app(args=given, prog_name="unembed", standalone_mode=False)
    except typer.Abort:  # a Ctrl-C, or the end of stdin, in place of an answer
        say("interrupted", "yellow")
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:
        if is_plea_for_help(error):
            error.show()  # type: ignore[attr-defined]
            sys.exit(Exit.USAGE)
        show_traceback(error)
        known = usage_error(error, given) if isinstance(error, UsageError) else as_unembed_error(error)
        sys.exit(fail(known, as_json="--json" in given))
    sys.exit(code if isinstance(code, int) else Exit.OK)


def _command(name: str, verb: Verb) -> Any:
    with quick_imports():
        target = getattr(import_module(f"unembed.cli.{verb.module}"), verb.name)
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
    else:
        alone = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
        alone.command(name)(target)
        command = typer.main.get_command(alone)
    add_common_options(command)
    command.name = name
    command.rich_help_panel = verb.panel
    return command
