"""Tests that share what is dear run in one process: where groups were not kept, each process of pytest made its own."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("groups")
@pytest.mark.parametrize("member", range(6))
def test_a_group_is_kept_together(
    member: int, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not getattr(pytestconfig.option, "loadgroup", False):
        pytest.skip("without --dist loadgroup there are no groups")
    # Given a file that all processes of this run have
    seen = tmp_path_factory.getbasetemp().parent / "processes-of-the-group"
    # When each test of the group notes its process
    with seen.open("a") as out:
        out.write(f"{os.getpid()}\n")
    # Then it is the same as that of those before
    assert set(seen.read_text().split()) == {str(os.getpid())}
