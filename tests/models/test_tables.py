"""The table of rows and the columns that are written into it have the same fields."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String

from unembed.generations import SCHEMA
from unembed.models.store.sql import GENERATIONS

OWNER = {"job_id", "batch_id"}  # what a row of a corpus need not say


def arrow_type(column: Column[object]) -> pa.DataType:
    kinds = (
        (BigInteger, pa.int64()),
        (Integer, pa.int32()),
        (Boolean, pa.bool_()),
        (Float, pa.float64()),
        (String, pa.string()),
    )
    return next(arrow for kind, arrow in kinds if isinstance(column.type, kind))


def test_the_table_has_the_columns_of_a_row_and_whose_it_is() -> None:
    # Given the table, When its columns are read as Arrow's, Then they are those of a row: name, type and null
    kept = {column.name: (arrow_type(column), column.nullable) for column in GENERATIONS.columns}
    assert {name: kept[name] for name in kept.keys() - OWNER} == {
        field.name: (field.type, field.nullable) for field in SCHEMA
    }
    assert kept.keys() - set(SCHEMA.names) == OWNER
