"""How well a decoder does on texts that it was not trained on: as it decodes by default, and greedily beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.ways import BY_DEFAULT
from unembed.models.encoders.base import Encoder
from unembed.models.evaluation.measure import measure
from unembed.models.evaluation.scores import Scores
from unembed.models.evaluation.text_sets import Say
from unembed.schemas import GREEDY, DecodeOptions

HeldOut = Mapping[str, tuple[list[str], Vectors]]  # by the set: its N texts, and their embeddings (N, D)


def together(sets: HeldOut) -> tuple[list[str], Vectors]:
    """The N texts of all sets, and their embeddings (N, D)."""
    return [text for texts, _ in sets.values() for text in texts], np.concatenate([own for _, own in sets.values()])


@dataclass(frozen=True)
class DevScores:
    """Of each set, by its name."""

    by_default: Mapping[str, Scores]
    greedily: Mapping[str, Scores]

    @classmethod
    def of(cls, decoder: TextDecoder, sets: HeldOut, encoder: Encoder | None, say: Say) -> DevScores:
        """With round trips where there is an encoder."""
        by_default, greedily = {}, {}
        for name, (texts, vectors) in sets.items():
            say(f"scoring on {name}")
            by_default[name] = measure(decoder, texts, vectors, encoder, DecodeOptions()).scores
            greedily[name] = measure(decoder, texts, vectors, encoder, GREEDY).scores
        return cls(by_default, greedily)


def recorded_scores(scored: DevScores | None) -> dict[str, Any]:
    """Their part of scores.json."""
    if scored is None:
        return {"scores": {}}
    return {
        "decoded": BY_DEFAULT,
        "scores": {name: asdict(one) for name, one in scored.by_default.items()},
        "greedy_scores": {name: asdict(one) for name, one in scored.greedily.items()},
    }


SCORES_TITLE: Final = "## Scores\n"
SCORES_HEAD: Final = """\
| set | rows | corpus BLEU | chrF | word F1 | exact | round-trip cosine |
|---|---|---|---|---|---|---|"""


def scores_section(name: str, scored: DevScores | None) -> str:
    """Of the decoder of this name, with an empty line at its end; nothing where there were no held-out texts."""
    if scored is None:
        return ""
    each = scored.by_default.values()
    signatures = "\n".join(sorted({f"- `{s}`" for one in each for s in (one.bleu_signature, one.chrf_signature)}))
    return f"""{SCORES_TITLE}
On texts it was not trained on, decoded by default:

{SCORES_HEAD}
{_rows(scored.by_default)}

Decoded greedily (`--fast`), in one pass without a search:

{SCORES_HEAD}
{_rows(scored.greedily)}

{signatures}
- word F1: the F1 of the two bags of words, ignoring case and punctuation; mean over rows
- exact: the share of rows that match their text character by character
- round-trip cosine: the cosine between the given vector and the embedding of the decoded text; mean over rows

`unembed evaluate {name} --set NAME=TEXTS` reproduces a row of the first table, and with `--fast` one of the second.

"""


def _rows(scores: Mapping[str, Scores]) -> str:
    return "\n".join(score_row(name, one) for name, one in scores.items())


def score_row(name: str, scores: Scores) -> str:
    """Below SCORES_HEAD."""
    cosine = "–" if scores.round_trip is None else f"{scores.round_trip:.3f}"
    return (
        f"| {name} | {scores.rows:,} | {scores.bleu:.1f} | {scores.chrf:.1f} | {scores.word_f1:.3f} "
        f"| {scores.exact:.1%} | {cosine} |"
    )
