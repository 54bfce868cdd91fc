"""The reference of the API, at /docs: what /openapi.json describes, as a page to read. Public, as that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from unembed.api.pages.addresses import server_of
from unembed.api.pages.examples import EXAMPLES
from unembed.api.pages.markdown import inline
from unembed.api.pages.schema_words import schema_name, words_of
from unembed.api.pages.shell import render

router = APIRouter()

_TAGS: Final = {
    "jobs": "Jobs",
    "batches": "Batches of vectors",
    "results": "Results",
    "decoders": "Decoders",
    "openai": "For clients of OpenAI's Batch API",
    "operation": "Operation",
}
_ANYWHERE: Final = ("401", "422", "429", "500", "503")  # said once, at the top of the page
_WHERE: Final = ("path", "query", "header")


@dataclass(frozen=True)
class Slot:
    """What takes a value: a parameter, or a field of a schema."""

    name: str
    kind: str  # its type, in words
    refers: tuple[str, ...]  # to these schemas
    needed: bool
    says: str
    where: str = ""  # of a parameter: path, query or header


@dataclass(frozen=True)
class Answer:
    status: str
    says: str
    media: tuple[str, ...]
    refers: tuple[str, ...]


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    title: str  # the first sentence of what it does, without its stop
    says: tuple[str, ...]  # all of it, in paragraphs
    parameters: tuple[Slot, ...]
    body: tuple[str, ...]  # media types
    body_refers: tuple[str, ...]
    answers: tuple[Answer, ...]
    example: str | None


@dataclass(frozen=True)
class Schema:
    name: str
    says: str
    fields: tuple[Slot, ...]
    kind: str  # of one without fields


@router.get("/docs")
def show_reference(request: Request) -> Response:
    document = request.app.openapi()
    groups: dict[str, list[Operation]] = {title: [] for title in _TAGS.values()}
    for operation, tag in _operations(document["paths"]):
        groups.setdefault(_TAGS.get(tag, tag), []).append(operation)
    schemas = [_schema(name, each) for name, each in sorted(document["components"]["schemas"].items())]
    return render(
        request,
        "reference.html",
        groups={title: operations for title, operations in groups.items() if operations},
        schemas=schemas,
        server=server_of(request),
        inline=inline,
    )


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[Operation, str]]:
    for path, methods in paths.items():
        for method, each in methods.items():
            says = [_plain(part) for part in each.get("description", "").split("\n\n")]
            content = each.get("requestBody", {}).get("content", {})
            operation = Operation(
                id=each["operationId"],
                method=method.upper(),
                path=path,
                title=says[0].partition(". ")[0].removesuffix("."),
                says=tuple(says),
                parameters=tuple(sorted(map(_parameter, each.get("parameters", ())), key=_by_place)),
                body=tuple(content),
                body_refers=_refers(content),
                answers=tuple(
                    _answer(status, answer)
                    for status, answer in sorted(each["responses"].items())
                    if status not in _ANYWHERE
                ),
                example=EXAMPLES.get(each["operationId"]),
            )
            yield operation, each.get("tags", ["operation"])[0]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _parameter(given: Mapping[str, Any]) -> Slot:
    kind = words_of(given["schema"], null=False)  # of a parameter, null is to leave it out
    return Slot(
        given["name"], kind.text, kind.refers, given.get("required", False), given.get("description", ""), given["in"]
    )


def _by_place(parameter: Slot) -> int:
    return _WHERE.index(parameter.where)


def _answer(status: str, given: Mapping[str, Any]) -> Answer:
    content = given.get("content", {})
    says = given.get("description", "").removesuffix(".")
    return Answer(status, "" if says == "Successful Response" else says, tuple(content), _refers(content))


def _refers(content: Mapping[str, Any]) -> tuple[str, ...]:
    found = [name for each in content.values() for name in words_of(each.get("schema", {})).refers]
    return tuple(dict.fromkeys(found))


def _schema(name: str, given: Mapping[str, Any]) -> Schema:
    needed = given.get("required", ())
    fields = []
    for field, schema in given.get("properties", {}).items():
        kind = words_of(schema)
        fields.append(Slot(field, kind.text, kind.refers, field in needed, schema.get("description", "")))
    return Schema(schema_name(name), _plain(given.get("description", "")), tuple(fields), words_of(given).text)
