"""`Client` and `AsyncClient` have the same verbs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from unembed.async_client import AsyncClient
from unembed.async_job import AsyncJobHandle
from unembed.client import Client
from unembed.job import JobHandle


def public(cls: type[Any]) -> dict[str, Any]:
    return {name: verb for name, verb in vars(cls).items() if not name.startswith("_")}


@pytest.mark.parametrize(("cls", "other"), [(Client, AsyncClient), (JobHandle, AsyncJobHandle)])
def test_both_have_the_same_verbs_with_the_same_signatures(cls: type[Any], other: type[Any]) -> None:
    # Given both classes, When their public verbs are listed, Then they are the same
    verbs, others = public(cls), public(other)
    assert verbs.keys() == others.keys()
    for name in [*(name for name, verb in verbs.items() if inspect.isfunction(verb)), "__init__"]:
        one, two = (inspect.signature(getattr(each, name)) for each in (cls, other))
        # And each takes the same, with the same defaults, and gives the same, to be awaited or one by one
        assert one.parameters.keys() == two.parameters.keys(), name
        for given, awaited in zip(one.parameters.values(), two.parameters.values(), strict=True):
            assert (given.kind, _same(given.annotation)) == (awaited.kind, _same(awaited.annotation)), name
            assert _is_same_default(given.default, awaited.default), (name, given.name)
        assert _same(one.return_annotation) == _same(two.return_annotation), name
        is_lazy = "Iterator" in str(one.return_annotation)
        assert inspect.iscoroutinefunction(getattr(other, name)) is not (is_lazy or name == "__init__"), name


def _same(annotation: object) -> str:
    return str(annotation).replace("Async", "")


def _is_same_default(one: object, other: object) -> bool:
    return one == other or (inspect.isfunction(one) and inspect.isfunction(other))


@pytest.mark.parametrize("cls", [Client, JobHandle, AsyncClient, AsyncJobHandle])
def test_each_verb_says_what_it_does(cls: type[Any]) -> None:
    for name, verb in public(cls).items():
        assert isinstance(verb, property) or name in ("close", "job") or inspect.getdoc(verb), name
