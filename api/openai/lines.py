"""Lines of an input file: a vector each, under the id of its client's own.

    {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "ret-v21-minilm", "prompt": [0.1]}}

The answers of OpenAI's embedding batches are read as well: their vectors are in `response.body.data[0].embedding`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError
from unembed.models.store.sql import storable
from unembed.schemas import DEFAULT_DECODER

_MAX_DIM = 65_536


@dataclass(frozen=True)
class InputLines:
    """What a file asks for."""

    decoder: str
    embeddings: npt.NDArray[np.float32]  # (N, D); a row that holds no vector is zeros
    ids: list[str]
    faults: dict[int, str]  # why a row holds no vector


def read_lines(content: bytes) -> InputLines:
    """Raises InputError, naming the line, for what is no request, for an id that was there before, and for models that
    differ."""
    models, ids, vectors = dict[str, int](), dict[str, int](), list[npt.NDArray[np.float32] | str]()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        document = _document(line, number)
        body = document.get("body") if "body" in document else (document.get("response") or {}).get("body")
        if not isinstance(body, dict):
            raise InputError(f"line {number} has no body; expected an object with `model` and `prompt`")
        custom_id = document.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id or custom_id != storable(custom_id):
            raise InputError(f"line {number}: custom_id is {custom_id!r}; expected a string, without NUL")
        if custom_id in ids:
            raise InputError(f"line {number}: custom_id {custom_id!r} is that of line {ids[custom_id]}, too")
        ids[custom_id] = number
        if "body" in document:
            models.setdefault(str(body.get("model", DEFAULT_DECODER)), number)
        vectors.append(_vector(body))
    if not vectors:
        raise InputError("the file has no line")
    if len(models) > 1:
        (one, at), (other, there) = list(models.items())[:2]
        raise InputError(
            f"line {at} asks for the model {one!r}, and line {there} for {other!r}; expected one in a file"
        )
    return _together(next(iter(models), DEFAULT_DECODER), vectors, list(ids))


def _document(line: bytes, number: int) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"line {number} is no object; expected one with custom_id and body")
    response = document.get("response")
    if response is not None and not isinstance(response, dict):
        raise InputError(f"line {number}: response is no object")
    return document


def _vector(body: dict[str, Any]) -> npt.NDArray[np.float32] | str:
    """(D,), or why there is none."""
    given = next((body[name] for name in ("prompt", "input", "embedding") if name in body), None)
    data = body.get("data")
    if given is None and isinstance(data, list) and data and isinstance(data[0], dict):
        given = data[0].get("embedding")
    try:
        if isinstance(given, str):
            vector = np.frombuffer(base64.b64decode(given, validate=True), "<f4")
        else:
            vector = np.asarray(given, np.float64).astype(np.float32)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return "the prompt is no vector: expected numbers, or float32 in base64"
    if vector.ndim != 1 or not 0 < len(vector) <= _MAX_DIM:
        return "the prompt is no vector: expected numbers, or float32 in base64"
    return vector


def _together(decoder: str, vectors: list[npt.NDArray[np.float32] | str], ids: list[str]) -> InputLines:
    lengths = [len(each) for each in vectors if not isinstance(each, str)]
    if not lengths:
        raise InputError("no line has a vector: expected numbers, or float32 in base64, in body.prompt")
    dim = max(set(lengths), key=lengths.count)
    embeddings, faults = np.zeros((len(vectors), dim), np.float32), dict[int, str]()
    for place, each in enumerate(vectors):
        if isinstance(each, str):
            faults[place] = each
        elif len(each) != dim:
            faults[place] = f"the vector has {len(each)} dimensions; most have {dim}"
        else:
            embeddings[place] = each
    return InputLines(decoder, embeddings, ids, faults)
