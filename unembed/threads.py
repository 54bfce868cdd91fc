"""How the CPU threads of torch wait. Free of torch, because it has to be said before torch is there."""

from __future__ import annotations

import os


def wait_without_spinning() -> None:
    """OpenMP's threads spin while they wait for each other; where others want the cores too, that is many times slower.

    OpenMP reads the variable once, when it is loaded: call this before torch is imported. A value that is set already
    is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
