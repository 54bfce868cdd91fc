"""Gives a checkpoint that has none a self-test, from the first vectors of a corpus; `unembed train` does it by itself.

python -m unembed.models.training.add_self_test ret-v21-minilm examples/sentences.parquet
"""

from __future__ import annotations

import argparse

from unembed.corpus import open_corpus
from unembed.models.decoder.checkpoint import checkpoint_folder, load_checkpoint
from unembed.models.decoder.self_test import ROWS, make_self_test


def main() -> None:
    parser = argparse.ArgumentParser(description="Gives a checkpoint a self-test.")
    parser.add_argument("checkpoint", help="a decoder's name, or its folder")
    parser.add_argument("corpus", help="a file of embeddings")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.checkpoint)
    vectors = next(open_corpus(options.corpus).batches(ROWS)).embeddings
    made = make_self_test(checkpoint.network, checkpoint.tokenizer, vectors)
    made.save(checkpoint_folder(options.checkpoint))
    for row in made.expected.rows:
        print(f"{row.log_prob:.3f}  {row.text}")


if __name__ == "__main__":
    main()
