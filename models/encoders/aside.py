"""An encoder beside this process: for the API, which has no torch in it and is to have none. Free of torch."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.errors import BusyError, UnavailableError, UnembedError
from unembed.models.encoders.folders import locate, missing_known
from unembed.models.encoders.known import KNOWN
from unembed.models.encoders.spec import parse_spec

log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]  # (D,)

_LOADS_FOR: Final = 120.0  # seconds; most of what it takes is to load torch and the model
_WAITS_FOR: Final = 20.0  # seconds, for the sentence before
_one = threading.Lock()  # a model is hundreds of megabytes: one at a time


def runs_aside(encoder: str | None) -> bool:
    """Whether it is installed, and one that Unembed knows by name: others could cost money, or be any code."""
    if encoder is None or encoder not in KNOWN:
        return False
    try:
        return missing_known(locate(parse_spec(encoder))) is None
    except UnembedError:  # the folder is not what it says
        return False


def embed_aside(encoder: str, sentence: str) -> Vector:
    """The embedding of a sentence, by an encoder that `runs_aside`, after some seconds.

    Raises BusyError while others are embedded, UnavailableError when none comes of it: the log says why.
    """
    if not _one.acquire(timeout=_WAITS_FOR):
        raise BusyError("other sentences are being embedded; try again in a moment")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "unembed.models.encoders.one_sentence", encoder],
            input=sentence.encode(),
            capture_output=True,
            timeout=_LOADS_FOR,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("the encoder %s gave no embedding: %s", encoder, type(error).__name__)
        raise UnavailableError(f"the encoder {encoder} gave no embedding in {_LOADS_FOR:.0f} s; try a vector") from None
    finally:
        _one.release()
    vector = np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], "<f4").astype(np.float32)
    if done.returncode != 0 or vector.shape != (KNOWN[encoder].dim,):
        log.warning("the encoder %s gave no embedding: %s", encoder, done.stderr.decode(errors="replace")[-2000:])
        raise UnavailableError(f"the encoder {encoder} gave no embedding: the server's log says why; try a vector")
    return vector
