"""What training lowers: nats a piece of a text, given its embedding."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unembed.models.decoder.ret import RET
from unembed.models.decoder.tokenizer import PAD
from unembed.models.training.data import Pairs

_CPU_HAS_BFLOAT16: Final = bool(
    getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()  # older torch: unknown
)


def training_loss(network: RET, embeddings: Tensor, ids: Tensor) -> Tensor:
    """As `piece_loss`, in bfloat16 where the device computes in it: on a CPU that does, half as fast again."""
    return piece_loss(network, embeddings, ids, half=embeddings.is_cuda or _CPU_HAS_BFLOAT16)


def piece_loss(network: RET, embeddings: Tensor, ids: Tensor, *, half: bool = False) -> Tensor:
    """Mean cross-entropy per piece in nats; ids (B, T) end with END and are padded with PAD, which does not count."""
    with torch.autocast(embeddings.device.type, dtype=torch.bfloat16, enabled=half):
        logits = network(embeddings, ids[:, :-1])  # (B, T, V)
    return F.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), ignore_index=PAD)


@torch.inference_mode()
def mean_loss(network: RET, pairs: Pairs, rows: int = 1024) -> float:
    """Nats per piece on the first `rows` pairs; in float32 on every device, so that machines can be compared."""
    device = network.pieces.weight.device
    total, count = 0.0, 0
    order = np.argsort(pairs.lengths[:rows], kind="stable")
    for begin in range(0, len(order), 256):
        embeddings, ids = pairs.batch(order[begin : begin + 256])
        pieces = int((ids != PAD).sum())
        total += float(piece_loss(network, embeddings.to(device), ids.to(device))) * pieces
        count += pieces
    return total / count
