"""The table of settings in docs/operating.md: `python -m unembed.models.settings_table` prints it."""

from __future__ import annotations

from typing import Final

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from unembed.models.environment import ELSEWHERE, PREFIX
from unembed.models.settings import Seconds, Settings, WholeSeconds

_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60))


def settings_table() -> str:
    """All variables, their defaults and what they are for, as Markdown."""
    fields = Settings.model_fields.items()
    rows = [(f"{PREFIX}{name.upper()}", _default(field), field.description or "") for name, field in fields]
    rows += [(name, "", meaning) for name, meaning in ELSEWHERE.items()]
    lines = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows]
    return "\n".join(["| variable | default | what it is |", "|---|---|---|", *lines])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, ByteSize):
        return value.human_readable(separator=" ").replace(".0 ", " ")
    if field.annotation in (float, int) and _is_duration(field):
        return _duration(value)
    return f"{value:,}" if isinstance(value, int) and value > 9999 else f"`{value}`"


def _is_duration(field: FieldInfo) -> bool:
    parsers = {Seconds.__metadata__[0], WholeSeconds.__metadata__[0]}  # type: ignore[attr-defined]
    return any(each in parsers for each in field.metadata)


def _duration(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= length and seconds % length == 0:
            return f"`{seconds / length:g}{unit}`"
    return f"`{seconds:g}s`"


if __name__ == "__main__":
    print(settings_table())
