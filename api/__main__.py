"""`python -m unembed.api`: how `unembed up` starts its API."""

from __future__ import annotations

from unembed.quick_imports import quick_imports

with quick_imports():
    from unembed.api.server import serve
    from unembed.models import logs
    from unembed.models.settings import read_settings

if __name__ == "__main__":
    try:
        logs.set_up("api")
        serve(read_settings(), grace=3, access_log=logs.chosen() == "json")
    except Exception as error:
        logs.end_logged(error)
