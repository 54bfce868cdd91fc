"""What a checkpoint has where the texts and vectors are enough for it; without it, the network is worth keeping."""

from __future__ import annotations

from collections.abc import Sequence

from unembed.errors import InputError
from unembed.models.decoder.manifold import Manifold, fit_manifold
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.sketch import fit_sketch


def manifold_or_none(vectors: Vectors, say: Say) -> Manifold | None:
    try:
        return fit_manifold(vectors)
    except InputError as error:
        say(f"the decoder will not recognise vectors off the manifold: {error}")
        return None


def sketch_or_none(texts: Sequence[str], vectors: Vectors, say: Say) -> Sketch | None:
    try:
        return fit_sketch(texts, vectors, say=say)
    except InputError as error:
        say(f"the decoder will have no sketch: {error}")
        return None
