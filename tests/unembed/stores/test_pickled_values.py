"""What a pickle spells is read without loading it; `pickle` itself only writes here."""

from __future__ import annotations

import contextlib
import os
import pickle
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unembed.corpus.stores.pickled_values import Object, values_in

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.lists(st.floats(allow_nan=False))
    ),
)


@settings(deadline=None)
@given(VALUES, st.sampled_from([3, 4]))
def test_plain_values_are_read_as_they_were(value: Any, protocol: int) -> None:
    assert values_in(pickle.dumps(value, protocol)) == value


def test_what_is_named_twice_is_the_same() -> None:
    shared = [1.0, 2.0]
    read = values_in(pickle.dumps({"a": shared, "b": shared, "set": {1, 2}}))
    assert read == {"a": shared, "b": shared, "set": {1, 2}}


def test_times_and_uuids_are_values() -> None:
    value = {"at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "on": date(2026, 1, 2), "key": UUID(int=5)}
    assert values_in(pickle.dumps(value)) == value


class Thing:
    def __init__(self) -> None:
        self.x = [1.5]


def test_an_object_is_a_name_and_a_state() -> None:
    assert values_in(pickle.dumps(Thing())) == Object(f"{__name__}.Thing", {"x": [1.5]})


class Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps(Harm()), "it calls posix.mkdir, and nothing in it is called"),
        (pickle.dumps([1.0, 2.0])[:-5], "no pickle|cut short"),
        (pickle.dumps("text")[:-4], "cut short"),
        (b"", "no pickle of plain values"),
        (b"hello", "no pickle of plain values"),
        (b"Pname\n.", "instruction b'P'"),
    ],
)
def test_what_is_more_than_plain_values_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        values_in(data)


@given(st.binary(max_size=60).map(lambda data: data + b"."))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        values_in(data)
