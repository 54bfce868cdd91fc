"""`python -m unembed.worker [NAME [when-let-go]]`: how `unembed up` starts its workers."""

from __future__ import annotations

import sys

from unembed.quick_imports import quick_imports

with quick_imports():
    from unembed.models.logs import end_logged
    from unembed.worker.main import run
    from unembed.worker.supervisor import WHEN_LET_GO

if __name__ == "__main__":  # the spawned child imports this module again
    try:
        if WHEN_LET_GO in sys.argv:
            sys.stdin.read()
        sys.exit(run(*sys.argv[1:2]))
    except Exception as error:
        end_logged(error)
