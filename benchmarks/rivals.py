"""A process that decodes with Hugging Face's `generate`, or with CTranslate2: a GPT-2 of the shape of our network.

    python benchmarks/rivals.py transformers float32|bfloat16
    python benchmarks/rivals.py ctranslate2 float32|int8

The network has one layer of width 256, two heads, an MLP of 384 and 256 pieces; it reads no embedding, has no gates, no
repetition penalty and no scores, all of which ours has. Its weights are random but for one thing: it counts down. After
the piece n it chooses n - 1, and 0 is its end mark, so that a row which begins with the piece L ends after L pieces by
its end mark, as a trained network's would. What the weights are costs nothing; how long the texts are does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import ctranslate2
import torch
from ctranslate2.converters.converter import Converter
from ctranslate2.converters.transformers import GPT2Loader
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from benchmarks.measuring import spent, stay_on_one_core
from benchmarks.subject import serve

PIECES: Final = 256
END: Final = 0
SMALL: Final = 1e-3  # deviation of the random weights: they must not outvote the countdown
NAMES: Final = [str(piece) for piece in range(PIECES)]
Decode = Callable[[list[int]], list[int]]  # lengths wanted, to lengths that came


def main() -> None:
    logging.set_verbosity_error()  # it advises on padding, of which there is none
    stay_on_one_core()
    torch.set_num_threads(1)
    library, arithmetic = sys.argv[1:]
    decode = hugging_face(arithmetic) if library == "transformers" else ctranslate(arithmetic)
    serve({"generate_texts": partial(generate_texts, decode)})


def generate_texts(decode: Decode, lengths: list[int], micro_batch: int) -> dict[str, Any]:
    """Raises ValueError when a text is not as long as it was to be: something else was then measured."""
    came: list[int] = []

    def run() -> None:
        for begin in range(0, len(lengths), micro_batch):
            came.extend(decode(lengths[begin : begin + micro_batch]))

    cost = spent(run)
    if came != lengths:
        raise ValueError(f"the texts have {sum(came)} pieces; expected {sum(lengths)}")
    return asdict(cost) | {"pieces": sum(came)}


@torch.no_grad()
def countdown() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=PIECES,
        n_positions=128,
        n_embd=256,
        n_layer=1,
        n_head=2,
        n_inner=384,
        initializer_range=SMALL,
        tie_word_embeddings=False,
        bos_token_id=PIECES - 1,
        eos_token_id=END,
        pad_token_id=END,
    )
    model = GPT2LMHeadModel(config).eval()
    square = torch.linalg.qr(torch.randn(PIECES, PIECES))[
        0
    ]  # (V, C): each piece's row is at right angles to the others'
    model.transformer.wte.weight.copy_(square)
    model.lm_head.weight.copy_(square.roll(-1, dims=0))  # the piece n - 1 answers to the row of n
    return model


def hugging_face(arithmetic: str) -> Decode:
    model = countdown().to(getattr(torch, arithmetic))

    @torch.inference_mode()
    def decode(lengths: list[int]) -> list[int]:
        begins = torch.tensor(lengths)[:, None]  # (B, 1)
        seen = torch.ones_like(begins)
        limit = max(lengths)
        ids = model.generate(begins, attention_mask=seen, max_new_tokens=limit, do_sample=False)[:, 1:]  # (B, T)
        came: list[int] = ((ids == END).int().argmax(dim=1) + 1).tolist()
        return came

    return decode


class _Countdown(Converter):  # type: ignore[misc]  # the package has no types
    """From memory: it has no tokenizer, which the converter from files would ask for."""

    def _load(self) -> Any:
        spec = GPT2Loader().get_model_spec(countdown())
        spec.register_vocabulary(NAMES)
        spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = NAMES[-1], NAMES[END], NAMES[1]
        return spec


def ctranslate(arithmetic: str) -> Decode:
    with tempfile.TemporaryDirectory() as folder:
        _Countdown().convert(folder, force=True)
        generator = ctranslate2.Generator(
            folder, device="cpu", compute_type=arithmetic, inter_threads=1, intra_threads=1
        )

    def decode(lengths: list[int]) -> list[int]:
        found = generator.generate_batch(
            [[NAMES[length]] for length in lengths],
            max_length=max(lengths),
            include_prompt_in_result=False,
            return_end_token=True,
        )
        return [len(one.sequences_ids[0]) for one in found]

    return decode


if __name__ == "__main__":
    main()
