"""`python -m unembed.worker [NAME]`: how `unembed up` starts its workers."""

from __future__ import annotations

import sys

from unembed.boundary import end_with
from unembed.worker.main import run

if __name__ == "__main__":  # the spawned child imports this module again
    try:
        sys.exit(run(*sys.argv[1:2]))
    except Exception as error:
        end_with(error)
