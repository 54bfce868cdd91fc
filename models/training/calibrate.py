"""Fits what `quality.py` applies: P(faithful) from the decoder's own evidence, and how likely real texts are to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from unembed.errors import MissingExtraError
from unembed.models.decoder.config import Calibration, CheckpointConfig
from unembed.models.decoder.engine import Generated, log_likelihood
from unembed.models.decoder.generative import GenerativeDecoder, Scored
from unembed.models.decoder.quality import FEATURES, features_of, logistic
from unembed.models.decoder.tokenizer import END, PAD
from unembed.models.decoder.ways import BLIND_WAYS, EDITED, SEEN_EDITED, SEEN_WAYS
from unembed.models.evaluation.reliability import CalibrationReport, check, is_faithful
from unembed.models.evaluation.scores import FAITHFUL_F1, MICRO_BATCH
from unembed.schemas import DecodeOptions

QUANTILES: Final = 41
FOLDS: Final = 5  # each fifth of the rows is checked by a fit of the other four
SEEN_ROWS: Final = 2000  # at most, as each is embedded dozens of times
OUTCOME: Final = f"word F1 against the true text is at least {FAITHFUL_F1}"

Checks = Mapping[str, CalibrationReport]  # by way of decoding


@dataclass(frozen=True)
class Calibrated:
    """Both calibrations of a decoder, and how well each judges rows that it was not fitted on."""

    blind: Calibration
    checks: Checks
    seen: Calibration | None = None  # where an encoder can embed texts again
    seen_checks: Checks | None = None

    def of(self, config: CheckpointConfig) -> CheckpointConfig:
        return config.model_copy(update={"calibration": self.blind, "seen_calibration": self.seen})


def calibrate_both(
    decoder: GenerativeDecoder, texts: Sequence[str], embeddings: npt.NDArray[np.float32], *, seen: bool
) -> Calibrated:
    """On held-out texts and their embeddings (N, D); `seen`: also for texts that the encoder embeds again."""
    sketched = decoder.checkpoint.sketch is not None
    ways = {**BLIND_WAYS, **(EDITED if sketched else {})}
    blind, checks = calibrate(decoder, texts, embeddings, ways, features_of(sketched=sketched, seen=False))
    if not seen:
        return Calibrated(blind, checks)
    some = slice(None, None, max(1, -(-len(texts) // SEEN_ROWS)))
    ways, names = {**SEEN_WAYS, **(SEEN_EDITED if sketched else {})}, features_of(sketched=sketched, seen=True)
    return Calibrated(blind, checks, *calibrate(decoder, texts[some], embeddings[some], ways, names))


def calibrate(
    decoder: GenerativeDecoder,
    texts: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    ways: Mapping[str, DecodeOptions] = BLIND_WAYS,
    names: Sequence[str] = FEATURES,
) -> tuple[Calibration, Checks]:
    """Fits on all rows, decoded in each of the ways; the checks are cross-fitted.

    All ways of a row are in one fold, or a fit would know the text that it judges.

    `names` are the features; the cosine is among them only where every way embeds the texts again.
    """
    features, faithful = [], []
    for options in ways.values():
        decoded = decode_in_parts(decoder, embeddings, options)
        features.append(np.concatenate([one.evidence.features(names) for one in decoded]))  # (N, F)
        faithful.append(is_faithful([text for one in decoded for text in one.texts], texts))  # (N,)
    folds = np.tile(np.arange(len(texts)) % FOLDS, len(ways))  # (N·W,)
    every, truth = np.concatenate(features), np.concatenate(faithful)
    judged = np.split(cross_fitted(every, truth, folds, names), len(ways))
    checks = {way: check(some, true) for way, some, true in zip(ways, judged, faithful, strict=True)}
    return fit(every, truth, lm_log_probs(decoder, texts), names), checks


def cross_fitted(
    features: npt.NDArray[np.float64],
    faithful: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.int_],
    names: Sequence[str] = FEATURES,
) -> npt.NDArray[np.float64]:
    """P(faithful) of each row of features (N, F), by a fit of the rows of the other folds."""
    probabilities = np.empty(len(features))
    for fold in np.unique(folds):
        inside = folds == fold
        judge = fit(features[~inside], faithful[~inside], [0.0], names)
        probabilities[inside] = logistic(features[inside], judge)
    return probabilities


def decode_in_parts(
    decoder: GenerativeDecoder, embeddings: npt.NDArray[np.float32], options: DecodeOptions
) -> list[Scored]:
    """All rows of (N, D) with their evidence, a micro-batch at a time."""
    return [
        decoder.decode_batch(
            np.ascontiguousarray(embeddings[begin : begin + MICRO_BATCH], dtype=np.float32),
            np.arange(begin, min(begin + MICRO_BATCH, len(embeddings))),
            options,
            0,
        )
        for begin in range(0, len(embeddings), MICRO_BATCH)
    ]


def fit(
    features: npt.NDArray[np.float64],
    faithful: npt.NDArray[np.bool_],
    lm_log_probs: Sequence[float],
    names: Sequence[str] = FEATURES,
) -> Calibration:
    """A logistic model on features (N, F) of these names; lm_log_probs are those of real texts."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtraError.of("scikit-learn", "train") from None
    scaler, model = StandardScaler(), LogisticRegression(C=1.0, max_iter=500)
    if faithful.all() or not faithful.any():
        weights, bias = np.zeros(features.shape[1]), 60.0 if faithful.all() else -60.0
    else:
        make_pipeline(scaler, model).fit(features, faithful)
        weights = model.coef_[0] / scaler.scale_
        bias = float(model.intercept_[0] - (weights * scaler.mean_).sum())
    quantiles = np.quantile(np.asarray(lm_log_probs), np.linspace(0.0, 1.0, QUANTILES))
    return Calibration(
        outcome=OUTCOME,
        rows=len(faithful),
        features=tuple(names),
        weights=tuple(float(weight) for weight in weights),
        bias=float(bias),
        lm_log_probs=tuple(float(value) for value in quantiles),
    )


def lm_log_probs(decoder: GenerativeDecoder, texts: Sequence[str]) -> list[float]:
    """Mean log p(piece) per text of the network without an embedding, nats; texts over the limit are cut."""
    checkpoint = decoder.checkpoint
    limit = checkpoint.config.network.max_pieces
    found: list[float] = []
    for begin in range(0, len(texts), 256):
        encoded = [[*ids[: limit - 1], END] for ids in checkpoint.tokenizer.encode_many(texts[begin : begin + 256])]
        lengths = torch.tensor([len(ids) for ids in encoded])
        padded = torch.full((len(encoded), int(lengths.max())), PAD)
        for place, ids in enumerate(encoded):
            padded[place, : len(ids)] = torch.tensor(ids)
        device = next(checkpoint.network.parameters()).device
        given = Generated(padded.to(device), torch.zeros(padded.shape, device=device), lengths.to(device))
        nothing = torch.zeros(len(encoded), decoder.embedding_dim, device=device)
        found += log_likelihood(checkpoint.network, nothing, given).tolist()
    return found
