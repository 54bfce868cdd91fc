"""`unembed doctor`: what is here, what is missing, and what to do about it; and a line for a bug report.

findings.py   what a check finds         machine.py   Python, packages, settings, device, decoders, ports
services.py   Redis, database, workers   folder.py    the home folder: rights, disk, locks, what is left there
paste.py      the line for a bug report
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import typer
from rich.table import Table

from unembed.boundary import as_unembed_error, show_traceback
from unembed.cli.console import Exit, out
from unembed.cli.doctor import folder, machine, services
from unembed.cli.doctor.findings import Check, Finding, State
from unembed.cli.doctor.paste import line_of
from unembed.cli.options import AsJson, Home
from unembed.errors import SettingsError

__all__ = ["doctor"]

_COLOURS: Final = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check this machine, and say how to fix what is wrong. Exit code 1 if decoding cannot work.

    The last line is for a bug report: versions, kinds and what is wrong, without secrets, names or paths.
    """
    findings = [finding for check in _CHECKS for finding in _safely(check, home)]
    pasted = line_of(findings, home)
    if as_json:
        typer.echo(json.dumps({"findings": [finding.as_json() for finding in findings], "paste": pasted}))
    else:
        _show(findings)
        out.print(f"\nfor a bug report:\n{_plain(pasted)}", soft_wrap=True)
    if any(finding.state is State.FAIL for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _show(findings: list[Finding]) -> None:
    table = Table("", "check", "found", "what to do", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(state, finding.what, _plain(finding.shown), _plain(finding.advice))
    out.print(table)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _safely(check: Check, home: Path | None) -> Iterator[Finding]:
    """A check that cannot even be made is a finding too: a doctor does not faint."""
    what = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(home)
    except SettingsError as error:
        if check is machine.settings:  # the others need them as well; once is enough
            yield Finding(what, State.FAIL, error.message, "correct the variable, or unset it")
    except ImportError as error:
        yield Finding(what, State.WARN, f"not checked: {error}", "install the extras above")
    except Exception as error:
        show_traceback(error)
        yield Finding(what, State.FAIL, as_unembed_error(error).message)


_CHECKS: Final[tuple[Check, ...]] = (
    machine.python,
    machine.packages,
    machine.settings,
    machine.device,
    machine.decoders,
    machine.encoders,
    machine.ports,
    services.redis,
    services.database,
    folder.home,
)
