"""Frames of other libraries go in, and come out; what is not installed is said in one line."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand
from unembed.client import Client
from unembed.corpus import corpus_from_array
from unembed.errors import CorpusError, MissingExtraError
from unembed.generations import SCHEMA

V = np.linspace(-1, 1, 5 * DIM, dtype=np.float32).reshape(5, DIM)
IDS = [f"id-{row}" for row in range(5)]
TABLE = pa.table({"doc": IDS, "vector": list(V), "other": [[0.5] * 3] * 5})


class Frame:
    """What any library's frame is to Arrow: it hands its columns over by the protocol, and is nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def as_pandas(table: pa.Table) -> Any:
    pytest.importorskip("pandas", reason="pandas is no dependency: tried by hand")
    return table.to_pandas()


def as_polars(table: pa.Table) -> Any:
    polars = pytest.importorskip("polars", reason="Polars is no dependency: tried by hand")
    return polars.from_arrow(table)


KINDS = {"a table": lambda table: table, "a frame": Frame, "pandas": as_pandas, "polars": as_polars}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_decoded_by_its_columns_and_its_ids_come_back(client: Client, hand: Hand, kind: str) -> None:
    # Given a frame with vectors and ids in columns of their own names, and a worker
    hand.start()
    frame = KINDS[kind](TABLE)
    # When it is submitted by those names
    job = client.submit(frame, column="vector", id_column="doc", decoder=DECODER, batch_size=2).wait(60)
    # Then the texts come back with the ids
    assert [(row.id, row.text) for row in job.results("index")] == [(IDS[i], f"text {i}") for i in range(5)]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_come_one_by_one_are_streamed(client: Client, hand: Hand, kind: str) -> None:
    # Given pieces of a frame, one after the other, and a worker
    hand.start()
    pieces = (KINDS[kind](TABLE.slice(first, 2)) for first in range(0, 5, 2))
    # When they are submitted, Then all rows are there, with their ids
    job = client.submit(pieces, column="vector", id_column="doc", decoder=DECODER).wait(60)
    assert [row.id for row in job.results("index")] == IDS


def test_a_reader_of_batches_is_streamed(client: Client, hand: Hand) -> None:
    # Given a reader of Arrow, as files, databases and Flight give them, When it is submitted, Then it is read once
    hand.start()
    reader = TABLE.to_reader(max_chunksize=2)
    job = client.submit(reader, column="vector", id_column="doc", decoder=DECODER).wait(60)
    assert [row.id for row in job.results("index")] == IDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_not_there_is_named_with_those_that_are(client: Client, kind: str) -> None:
    frame = KINDS[kind](TABLE)
    with pytest.raises(CorpusError, match=r"has no column 'vectors'; its columns are 'doc', 'vector', 'other'"):
        client.submit(frame, column="vectors", decoder=DECODER)
    with pytest.raises(CorpusError, match=r"has no column 'key' for the ids; its columns are 'doc', 'vector', 'other'"):
        client.submit(frame, column="vector", id_column="key", decoder=DECODER)
    with pytest.raises(CorpusError, match=r"column 'doc'"):
        client.submit(frame, column="doc", decoder=DECODER)
    assert client.jobs().jobs == []


@pytest.mark.parametrize(("verb", "package"), [("to_pandas", "pandas"), ("to_polars", "polars")])
def test_a_frame_that_cannot_be_made_says_what_to_install(
    client: Client, verb: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an environment without the library
    monkeypatch.setitem(sys.modules, package, None)
    job = client.submit(V, decoder=DECODER)
    # When its frame is asked for, Then the error says how to get it
    with pytest.raises(MissingExtraError, match=f"{verb} needs the package '{package}'.*pip install {package}"):
        getattr(job, verb)()


@pytest.mark.parametrize(("verb", "package"), [("to_pandas", "pandas"), ("to_polars", "polars")])
def test_the_rows_are_a_frame(client: Client, hand: Hand, verb: str, package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is no dependency: tried by hand")
    # Given a job that has ended, When its rows are asked for as a frame, Then it has the columns, in their order
    hand.start()
    job = client.submit(V, ids=IDS, decoder=DECODER).wait(60)
    frame = getattr(job, verb)()
    assert list(frame.columns) == SCHEMA.names
    assert list(frame["text"]) == [f"text {i}" for i in range(5)]
    # And goes in again as a corpus would
    with pytest.raises(CorpusError, match="no column named"):
        corpus_from_array(frame)
