"""The tables in the docs that are made from the code: `python -m tests.docs.tables` writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.exposition import families
from unembed.cli.console import EXIT_MEANINGS
from unembed.cli.decode_flags import range_of
from unembed.codes import FailureCode
from unembed.errors import JobFailedError, WaitTimeoutError, by_code
from unembed.schemas import DecodeOptions

DOCS: Final = Path(__file__).parents[2] / "docs"


def options_table() -> str:
    """The options of decoding: names, defaults, ranges and meanings."""
    rows = []
    for name, field in DecodeOptions.model_fields.items():
        rows.append((f"`{name}`", _default(field.default), range_of(field), str(field.description)))
    return _table(("option", "default", "range", "meaning"), rows)


def errors_table() -> str:
    """The errors of the API and of the Python library: HTTP statuses, codes, classes and meanings."""
    errors = [each for each in by_code().values() if each.__module__ == "unembed.errors"]
    rows = []
    for error in sorted(errors, key=lambda each: (each.status, each.code)):
        status = "" if error in (JobFailedError, WaitTimeoutError) else str(error.status)  # they never leave a server
        meaning = str(error.__doc__).strip().partition("\n")[0].removesuffix(".")
        rows.append((status, f"`{error.code}`", f"`{error.__name__}`", meaning))
    return _table(("status", "code", "class in Python", "meaning"), rows)


def failures_table() -> str:
    """The codes of error rows and of failed batches."""
    return _table(("code", "of a", "meaning"), [(f"`{each}`", each.scope, each.meaning) for each in FailureCode])


def exits_table() -> str:
    """What a verb ends with."""
    return _table(("exit code", "meaning"), [(str(code.value), meaning) for code, meaning in EXIT_MEANINGS.items()])


def metrics_table() -> str:
    """What /metrics exposes: names with their labels, kinds and meanings."""
    rows = []
    for each in families():
        labels = f"{{{','.join(sorted(each.labels))}}}" if each.labels else ""
        rows.append((f"`{each.name}{labels}`", each.kind, each.help))
    return _table(("metric", "kind", "meaning"), rows)


def _default(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case str():
            return f"`{value}`"
        case _:
            return f"{value:g}"


# The page, the name of the table's markers, and what makes it.
TABLES: Final[Sequence[tuple[str, str, Callable[[], str]]]] = (
    ("decoding.md", "options", options_table),
    ("api.md", "errors", errors_table),
    ("api.md", "failures", failures_table),
    ("cli.md", "exits", exits_table),
    ("monitoring.md", "metrics", metrics_table),
)


def written(page: str, name: str) -> str:
    """The table that is on the page between the markers of this name."""
    return _split(_read(page), name)[1]


def write(page: str, name: str, table: str) -> None:
    before, _, after = _split(_read(page), name)
    (DOCS / page).write_text(f"{before}{table}{after}", encoding="utf-8")


def _split(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
    start = text.index(begin) + len(begin)
    stop = text.index(end, start)
    return text[:start], text[start:stop], text[stop:]


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    for page, name, make in TABLES:
        write(page, name, make())
