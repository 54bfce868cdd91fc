"""Makes the base anew, or goes on from one:

python -m unembed.models.training.to_adapt texts.txt embeddings.npy[,others.npy...] ret-v21-minilm out 35
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.training.to_adapt.learn import make_base

if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m unembed.models.training.to_adapt", description=__doc__)
    asked.add_argument("texts", type=Path, help="one a line")
    asked.add_argument(
        "embeddings", help="of the texts: .npy files, commas between; the first are those of the start's embedder"
    )
    asked.add_argument("start", help="the decoder to begin with, by name or folder; a base is gone on from")
    asked.add_argument("out", type=Path, help="a new folder for the checkpoint")
    asked.add_argument("minutes", type=float, nargs="?", default=35.0)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    lines = given.texts.read_text(encoding="utf-8").splitlines()
    made = make_base(
        load_checkpoint(given.start),
        lines,
        [np.load(one, mmap_mode="r", allow_pickle=False)[: len(lines)] for one in given.embeddings.split(",")],
        given.minutes,
        given.seed,
        print,
    )
    save_checkpoint(given.out, made)
