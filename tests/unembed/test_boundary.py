"""What a library refuses is told in one line: the name, the value, what was expected."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unembed.boundary import describe, unknown_name


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: Annotated[int, Field(ge=1, lt=10)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    rank_by: Literal["encoder", "decoder"] = "encoder"
    name: Annotated[str, Field(max_length=4)] = ""
    exact: bool = False
    place: str = "here"

    @field_validator("place")
    @classmethod
    def _is_here(cls, place: str) -> str:
        if place != "here":
            raise ValueError("only here will do")
        return place


def refused(values: dict[str, object]) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows": 0}, "rows is 0; expected at least 1"),
        ({"rows": 10}, "rows is 10; expected less than 10"),
        ({"rows": "many"}, "rows is 'many'; expected a whole number"),
        ({"rows": 1.5}, "rows is 1.5; expected a whole number"),
        ({"share": 0}, "share is 0; expected more than 0"),
        ({"share": "half"}, "share is 'half'; expected a number"),
        ({"rank_by": "luck"}, "rank_by is 'luck'; expected 'encoder' or 'decoder'"),
        ({"name": "Penelope"}, "name is 'Penelope'; expected at most 4 characters"),
        ({"name": 7}, "name is 7; expected a string"),
        ({"exact": "maybe"}, "exact is 'maybe'; expected true or false"),
        ({"place": "there"}, "place is 'there': only here will do"),
        ({"row": 3}, "unknown field 'row'"),
        ({"rows": 0, "share": 2}, "rows is 0; expected at least 1. share is 2; expected at most 1"),
    ],
)
def test_a_line_names_the_field_the_value_and_what_was_expected(values: dict[str, object], said: str) -> None:
    assert describe(refused(values)) == said


def test_a_missing_field_is_called_missing() -> None:
    class Needs(BaseModel):
        rows: int

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert describe(caught.value) == "rows is missing"


def test_the_reader_is_told_the_name_that_they_gave() -> None:
    said = describe(refused({"rank_by": "luck"}), name=lambda field: "--" + field.replace("_", "-"))
    assert said == "--rank-by is 'luck'; expected 'encoder' or 'decoder'"


def test_a_secret_is_not_shown() -> None:
    said = describe(refused({"name": "Penelope"}), secret={"name"})
    assert said == "name is set, but not usable; expected at most 4 characters"


def test_a_long_value_is_cut() -> None:
    assert len(describe(refused({"name": "x" * 10_000}))) < 200


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    known = Order.model_fields
    said = describe(refused({"row": 3}), known=known)
    assert said == "unknown field 'row'; there are: exact, name, place, rank_by, rows, share. Did you mean 'rows'?"
    assert unknown_name("setting", "zzz", ["rows"]) == "unknown setting 'zzz'; there are: rows"


def test_what_is_not_json_is_told_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate_json("{")
    assert describe(caught.value).startswith("this is not JSON: EOF while parsing")
