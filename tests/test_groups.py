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


def test_a_group_that_a_conftest_gives_is_known_to_xdist(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("without --dist loadgroup there are no groups")
    # Given the tests of this run that belong to a group, by their own mark or by one that a conftest gave them
    grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    # Then xdist has read all of them: it writes the group behind the test's name
    assert [item.nodeid for item in grouped if "@" not in item.nodeid.rpartition("]")[2]] == []
