"""The database goes away in the middle of it all, and comes back."""

from __future__ import annotations

import sqlite3
import time

import pytest
from sqlalchemy import make_url

from tests.faults.conftest import Fault
from tests.faults.rig import Site
from unembed.schemas import BatchState


@pytest.mark.fault("T11b database away")
def test_a_database_that_goes_away_for_a_while_loses_nothing(site: Site, fault: Fault) -> None:
    # Given a job that several workers decode
    load = site.submit(batches=8, seconds=0.1)
    site.busy(load)
    # When PostgreSQL is killed with -9 and started again, or SQLite's file is locked by another process
    fault.strikes_now(*site.batches(load, BatchState.RUNNING))
    if site.database_server is not None:
        site.database_server.kill()
        time.sleep(1)  # long enough to be missed
        site.database_server.start()
    else:
        _lock(site.database_url, 2)
    # Then all is well
    fault.ends_well(load)


def _lock(url: str, seconds: float) -> None:
    """As another program would: a write that is begun, and not ended."""
    path = make_url(url).database
    assert path is not None, "SQLite is a file"
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()
