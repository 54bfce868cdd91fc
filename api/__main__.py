"""`python -m unembed.api`: how `unembed up` starts its API."""

from __future__ import annotations

from unembed.boundary import end_with
from unembed.quick_imports import quick_imports

with quick_imports():
    from unembed.api.server import serve
    from unembed.models.settings import read_settings

if __name__ == "__main__":
    try:
        serve(read_settings(), grace=3, access_log=False)
    except Exception as error:
        end_with(error)
