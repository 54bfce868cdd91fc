"""Modules of the user's own that Python finds in place of a library's: a `redis.py`, a folder `queue`."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

_OF_PYTHON: Final = ("stdlib", "platstdlib")
_OF_PACKAGES: Final = ("purelib", "platlib")


def shadows() -> Iterator[tuple[str, Path]]:
    """The names of modules of Python or of installed packages that a folder of PYTHONPATH has too, and the file there.

    PYTHONPATH goes before everything else, in every process that is started from here.
    """
    for folder in map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = path.name.partition(".")[0]
            ours = PathFinder.find_spec(name, [str(folder)]) if name.isidentifier() else None
            theirs = PathFinder.find_spec(name, _others()) if ours is not None and ours.origin else None
            if theirs is not None and theirs.origin and ours is not None and ours.origin != theirs.origin:
                yield name, Path(str(ours.origin))


def owner(module: str) -> str:
    """Whose module it is that is hidden."""
    return "Python itself" if module in sys.stdlib_module_names else "an installed package"


def _others() -> list[str]:
    places = [sysconfig.get_path(name) for name in (*_OF_PYTHON, *_OF_PACKAGES)]
    dynamic = str(Path(sysconfig.get_path("platstdlib")) / "lib-dynload")
    return [*places, dynamic, *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
