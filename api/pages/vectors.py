"""A vector in a form: read, and an example of one."""

from __future__ import annotations

import base64
import binascii
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from unembed.errors import CheckpointError, InputError, UnknownDecoderError
from unembed.models.decoder import catalog

Vector = npt.NDArray[np.float32]  # (D,)

_EXPECTED: Final = "expected numbers as [0.1, -0.2, …], or float32 in base64"
_MOST_VALUES: Final = 65_536
_DIGITS: Final = 4  # of an example: enough to be decoded into the same text, nearly always


def read_vector(given: str) -> Vector:
    """The vector of a JSON list, or of base64 as OpenAI's API gives it. Raises InputError."""
    text = given.strip()
    if not text:
        raise InputError(f"there is no vector; {_EXPECTED}")
    vector = _from_list(text) if text.startswith("[") else _from_base64(text)
    if not len(vector):
        raise InputError(f"the vector is empty; {_EXPECTED}")
    if len(vector) > _MOST_VALUES:
        raise InputError(f"the vector has {len(vector)} values; expected {_MOST_VALUES} at most")
    if not np.isfinite(vector).all():
        raise InputError("the vector has values that are NaN or infinite in float32; all must be finite")
    if not vector.any():
        raise InputError("all values of the vector are zero; an embedding has a direction")
    return vector


def _from_list(text: str) -> Vector:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the vector cannot be read: {error}; {_EXPECTED}") from None
    wrong = next((each for each in values if isinstance(each, bool) or not isinstance(each, (int, float))), None)
    if wrong is not None:
        raise InputError(f"the vector holds {str(wrong)[:40]!r}; {_EXPECTED}")
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused as that
        try:
            return np.asarray(values, np.float64).astype(np.float32)
        except OverflowError:
            raise InputError("the vector has a value that no float holds; all must be finite") from None


def _from_base64(text: str) -> Vector:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
        return np.frombuffer(data, "<f4").astype(np.float32)
    except (binascii.Error, ValueError):
        raise InputError(f"the vector is neither a list of numbers nor base64; {_EXPECTED}") from None


def example_of(decoder: str) -> str | None:
    """A vector of the decoder's own embedder, as a JSON list: of those that its self-test has, that of the likeliest
    text. None where there is none, or where safetensors is not installed."""
    try:
        return _example(catalog.find(decoder).path)
    except (UnknownDecoderError, CheckpointError):
        return None


@lru_cache(maxsize=16)
def _example(folder: Path) -> str | None:
    try:
        from safetensors.numpy import load_file
    except ImportError:  # it comes with the decoders, which an API need not have
        return None
    try:
        rows: list[Any] = json.loads((folder / "self_test.json").read_bytes())["rows"]
        vectors = load_file(folder / "self_test.safetensors")["vectors"]
        best = max(range(len(rows)), key=lambda row: rows[row]["log_prob"])
        return json.dumps([round(float(value), _DIGITS) for value in vectors[best]])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
