"""Which device, in which precision; and that lower precision writes the same texts, nearly always."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models.decoder.toy import random_checkpoint, vectors
from unembed.errors import InputError
from unembed.models.decoder import GenerativeDecoder, UntrainedDecoderWarning, create_generative_decoder
from unembed.models.device import PRECISIONS, Device, choose, fastest
from unembed.schemas import Precision
from unembed.word_f1 import word_f1


def test_the_catalogue_is_read_without_torch() -> None:
    code = "import sys; import unembed.models.decoder.catalog as c; c.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_always_a_device() -> None:
    assert choose("auto").torch_device.type in ("cuda", "mps", "cpu")
    assert choose("cpu").name == "cpu"


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu zero"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}.*auto, .*cpu"):
        choose(name)


def test_a_cpu_without_bf16_instructions_uses_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert fastest(torch.device("cpu")) == "float32"


def test_a_cpu_with_bf16_instructions_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert fastest(torch.device("cpu")) == "bfloat16"


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_a_precision_that_is_named_is_taken_on_every_machine(precision: Precision) -> None:
    # Given a CPU, whatever it has instructions for, When a precision is named, Then it is that one
    assert choose("cpu", precision).precision == precision


def test_an_unknown_precision_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown precision 'int8'; expected one of auto, float32, bfloat16, float16"):
        choose("cpu", "int8")  # type: ignore[arg-type]


def test_a_decoder_with_random_weights_leaves_the_callers_draws_alone() -> None:
    # Given a caller that draws
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    # When a decoder with random weights is made in between, Then the draws are as they would have been
    with pytest.warns(UntrainedDecoderWarning):
        create_generative_decoder(embedding_dim=32, checkpoint=None, seed=1, device="cpu")
    assert torch.rand(3).tolist() == expected


def test_mixed_precision_decodes_nearly_the_same(tmp_path: Path) -> None:
    # Given a decoder in float32, and the same under bf16 autocast
    folder = random_checkpoint(tmp_path / "toy")
    plain = GenerativeDecoder.load(folder, "cpu", "float32")
    mixed = GenerativeDecoder.load(folder, "cpu", "bfloat16")
    assert (plain.precision, mixed.precision) == ("float32", "bfloat16")
    # When both decode the same vectors
    ours = [answer["text"] for answer in mixed.batch_generate(vectors(60))]
    theirs = [answer["text"] for answer in plain.batch_generate(vectors(60))]
    # Then most texts are the same, though the network is random and its choices are close calls
    agreement = sum(word_f1(a, b) for a, b in zip(ours, theirs, strict=True)) / 60
    assert agreement > 0.6


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA GPU on this machine: the GPU path is not tested here"
)
def test_on_a_gpu_the_texts_are_nearly_those_of_the_cpu(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "toy")
    precision = fastest(torch.device("cuda:0"))
    assert precision in ("bfloat16", "float16")
    on_gpu, on_cpu = (
        GenerativeDecoder.load(folder, "cuda:0", precision),
        GenerativeDecoder.load(folder, "cpu", "float32"),
    )
    assert (on_gpu.peak_memory_bytes() or 0) >= 0
    ours = [answer["text"] for answer in on_gpu.batch_generate(vectors(60))]
    theirs = [answer["text"] for answer in on_cpu.batch_generate(vectors(60))]
    assert sum(word_f1(a, b) for a, b in zip(ours, theirs, strict=True)) / 60 > 0.6


def test_the_precision_is_reported_with_the_device() -> None:
    assert Device(torch.device("cpu"), torch.float32).precision == "float32"
