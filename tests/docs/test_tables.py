from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docs.tables import TABLES, written


@pytest.mark.parametrize(("page", "name", "make"), TABLES, ids=[name for _, name, _ in TABLES])
def test_the_tables_in_the_docs_are_made_from_the_code(page: str, name: str, make: Callable[[], str]) -> None:
    assert written(page, name) == make(), "run `python -m tests.docs.tables`, and commit what it writes"
