"""The command `unembed`: one module a verb, imported only when the verb is used.

Data goes to stdout, everything else to stderr. An UnembedError is one line and an exit code, never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from unembed.quick_imports import quick_imports


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process; see `unembed.cli.console.Exit` for the codes."""
    try:
        with quick_imports():
            from unembed.cli.app import run  # here, so that a Ctrl-C while it is imported is no traceback either

        run(args)
    except KeyboardInterrupt:
        sys.exit(130)
