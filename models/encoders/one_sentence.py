"""One sentence, embedded in a process of its own, for who has no place for an encoder (`aside.py`).

python -m unembed.models.encoders.one_sentence all-MiniLM-L6-v2 < the sentence > its values, float32
"""

from __future__ import annotations

import sys

import numpy as np

from unembed.boundary import end_with
from unembed.models.encoders.registry import open_encoder


def main() -> None:
    answer, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    try:
        (name,) = sys.argv[1:]
        sentence = sys.stdin.buffer.read().decode("utf-8")
        vectors = open_encoder(name).encode([sentence], lambda done: None)  # (1, D)
    except Exception as error:
        end_with(error)
    answer.buffer.write(np.ascontiguousarray(vectors[0], "<f4").tobytes())


if __name__ == "__main__":
    main()
