"""Ids of new jobs, and the cursors of pages."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from datetime import datetime

from unembed.errors import InputError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u


def new_job_id() -> str:
    """26 lowercase characters that sort by time: 48 bits of milliseconds, then 80 random ones."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def jobs_cursor(created_at: datetime, job_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {job_id}".encode()).decode().rstrip("=")


def read_jobs_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, job_id = decoded.split(" ")
        if not re.fullmatch(f"[{_ALPHABET}]{{26}}", job_id):
            raise ValueError(job_id)
        return datetime.fromisoformat(created_at), job_id
    except (ValueError, binascii.Error):
        raise InputError(f"{cursor!r} is no cursor of a page of jobs") from None


def batches_cursor(ordinal: int) -> str:
    return f"b{ordinal}"


def read_batches_cursor(cursor: str) -> int:
    if found := re.fullmatch(r"b([0-9]{1,10})", cursor):
        return int(found[1])
    raise InputError(f"{cursor!r} is no cursor of a page of batches")


def finished_cursor(done_ordinal: int, index: int) -> str:
    return f"f{done_ordinal}.{index}"


def read_finished_cursor(cursor: str | None) -> tuple[int, int]:
    """The batch, as the n-th that finished, and the index of the last row read in it."""
    if cursor is None:
        return 0, -1
    if found := re.fullmatch(r"f([0-9]{1,9})\.([0-9]{1,18})", cursor):
        return int(found[1]), int(found[2])
    raise InputError(f"{cursor!r} is no cursor of results in the order finished")


def index_cursor(index: int) -> str:
    return f"i{index}"


def read_index_cursor(cursor: str | None) -> int:
    """The index of the last row read."""
    if cursor is None:
        return -1
    if found := re.fullmatch(r"i([0-9]{1,18})", cursor):
        return int(found[1])
    raise InputError(f"{cursor!r} is no cursor of results in the order index")
