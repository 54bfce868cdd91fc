"""The report as one HTML file: everything is in it, nothing is fetched, no script runs, every text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.manifold import MANY
from unembed.models.evaluation.analysis import RESAMPLES, Analysis
from unembed.models.evaluation.figures import quality_figure, reliability_figure, risk_figure
from unembed.models.evaluation.scores import FAITHFUL_F1
from unembed.schemas import DecodeOptions
from unembed.word_f1 import WORD

TEMPLATE: Final = "page.html"


@dataclass(frozen=True)
class Subject:
    """What was evaluated, and how."""

    name: str
    architecture: str
    parameters: int
    embedding_dim: int
    encoder: str | None
    device: str
    precision: str
    options: dict[str, Any]  # those that are not the default
    seed: int

    @classmethod
    def of(cls, decoder: TextDecoder, options: DecodeOptions, seed: int) -> Subject:
        return cls(
            name=decoder.name,
            architecture=decoder.architecture,
            parameters=decoder.parameters,
            embedding_dim=decoder.embedding_dim,
            encoder=decoder.encoder,
            device=decoder.device,
            precision=decoder.precision,
            options=options.model_dump(exclude_defaults=True),
            seed=seed,
        )


def environment(*folders: Path) -> Environment:
    """The templates in these folders and beside this file. They escape every text; an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(path: Path, subject: Subject, analyses: Sequence[Analysis], command: str) -> None:
    path.write_text(render(subject, analyses, command), encoding="utf-8")


def render(subject: Subject, analyses: Sequence[Analysis], command: str) -> str:
    """The page. Texts are escaped by the template; the figures and `shared_words` escape their own."""
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            subject=subject,
            analyses=analyses,
            figures=[
                {"reliability": reliability_figure, "risk": risk_figure, "quality": quality_figure} if one.trust else {}
                for one in analyses
            ],
            signatures=sorted({s for one in analyses for s in (one.scores.bleu_signature, one.scores.chrf_signature)}),
            shared_words=shared_words,
            faithful_f1=FAITHFUL_F1,
            resamples=RESAMPLES,
            many=MANY,
            command=command,
            today=date.today().isoformat(),
            version=version("unembed"),
        )
    )


def shared_words(text: str, other: str) -> Markup:
    """`text`, escaped, with the words set off that `other` has too, as word F1 counts them."""
    left = Counter(word.casefold() for word in WORD.findall(other))
    parts, end = [], 0
    for match in WORD.finditer(text):
        parts.append(escape(text[end : match.start()]))
        word = match[0]
        if left[word.casefold()] > 0:
            left[word.casefold()] -= 1
            parts.append(Markup("<b>{}</b>").format(word))
        else:
            parts.append(escape(word))
        end = match.end()
    parts.append(escape(text[end:]))
    return Markup("").join(parts)
