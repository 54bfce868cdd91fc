"""A JSON schema in a few words: `a number from 0 to 1, or null`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_REF: Final = "#/components/schemas/"
_NOT_SAID: Final = r"^[^\x00]*$"  # no NUL: nobody sends one


@dataclass(frozen=True)
class Words:
    text: str
    refers: tuple[str, ...] = ()  # the schemas that it names


def schema_name(reference: str) -> str:
    return reference.removeprefix(_REF)


def words_of(schema: Mapping[str, Any], *, null: bool = True) -> Words:
    """Without what the schema's own description says. `null`: whether it is said that it may be null."""
    kind = _kind(schema, null=null)
    default = schema.get("default")
    if default in (None, {}, []) or isinstance(default, dict):
        return kind
    written = default if isinstance(default, str) else json.dumps(default)
    return Words(f"{kind.text}; {written} if not given", kind.refers)


def _kind(schema: Mapping[str, Any], *, null: bool = True) -> Words:
    if "$ref" in schema:
        name = schema_name(schema["$ref"])
        return Words(name, (name,))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [_kind(each) for each in choices if null or each.get("type") != "null"]
        return Words(" or ".join(kind.text for kind in kinds), sum((kind.refers for kind in kinds), ()))
    if "const" in schema:
        return Words(json.dumps(schema["const"]))
    if "enum" in schema:
        return Words(" or ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        item = _kind(schema.get("items", {}))
        return Words(f"list of {item.text}{_bounds(schema, 'minItems', 'maxItems', ' of them')}", item.refers)
    if schema.get("type") == "object" or "properties" in schema:
        return _object(schema)
    return Words(_plain(schema))


def _plain(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type", "anything"))
    if "format" in schema:
        kind += f", {schema['format']}"
    kind += _bounds(schema, "minimum", "maximum") or _exclusive(schema)
    kind += _bounds(schema, "minLength", "maxLength", " characters")
    pattern = schema.get("pattern", _NOT_SAID)
    return kind if pattern == _NOT_SAID else f"{kind}, {pattern}"


def _object(schema: Mapping[str, Any]) -> Words:
    values = schema.get("additionalProperties")
    if patterns := schema.get("patternProperties"):
        values = next(iter(patterns.values()))
    if not isinstance(values, dict) or not values:
        return Words("object")
    value = _kind(values)
    return Words(f"object of {value.text} by name", value.refers)


def _bounds(schema: Mapping[str, Any], low: str, high: str, unit: str = "") -> str:
    least, most = schema.get(low), schema.get(high)
    if least is not None and most is not None:
        return f", {_number(least)} to {_number(most)}{unit}"
    if least is not None:
        return _exclusive(schema) or f", {_number(least)}{unit} or more"
    return f", {_number(most)}{unit} at most" if most is not None else ""


def _exclusive(schema: Mapping[str, Any]) -> str:
    """What is above or below a bound, but not it."""
    parts = []
    if "minimum" in schema:
        parts.append(f"{_number(schema['minimum'])} or more")
    if "exclusiveMinimum" in schema:
        parts.append(f"above {_number(schema['exclusiveMinimum'])}")
    if "exclusiveMaximum" in schema:
        parts.append(f"below {_number(schema['exclusiveMaximum'])}")
    return f", {' and '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"
