"""Makes the base anew: python -m unembed.models.training.to_adapt texts.txt embeddings.npy ret-v21-minilm out 35."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.training.to_adapt.learn import make_base

if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m unembed.models.training.to_adapt", description=__doc__)
    asked.add_argument("texts", type=Path, help="one a line")
    asked.add_argument("embeddings", type=Path, help="a .npy file: those of the texts, by the embedder of the start")
    asked.add_argument("start", help="the decoder to begin with, by name or folder")
    asked.add_argument("out", type=Path, help="a new folder for the checkpoint")
    asked.add_argument("minutes", type=float, nargs="?", default=35.0)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    lines = given.texts.read_text(encoding="utf-8").splitlines()
    made = make_base(
        load_checkpoint(given.start),
        lines,
        np.load(given.embeddings, mmap_mode="r", allow_pickle=False)[: len(lines)],
        given.minutes,
        given.seed,
        print,
    )
    save_checkpoint(given.out, made)
