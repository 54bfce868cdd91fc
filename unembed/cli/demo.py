"""`unembed demo`: decodes the example corpus, and shows what it should have been beside what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.text import Text

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.decode import BatchSize
from unembed.cli.decode_flags import Fast
from unembed.cli.decode_to_file import Done, decode_to_file
from unembed.cli.demo_report import LEGEND, SHOWN, Pair, agreement, pair, pairs_table, ranking_score, spread
from unembed.corpus import Corpus, corpus_from_array, open_corpus
from unembed.errors import CorpusError
from unembed.generations import rows_of
from unembed.results import destination_of
from unembed.schemas import GREEDY

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples" / "sentences.parquet"
REFERENCE: Final = "text"
WIDTH: Final = 100  # columns, where there is no terminal to ask

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="[IN]",
        help="A .parquet file with a column `text` beside the embeddings. Default: the examples of the repository.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .parquet file for the decoded rows.")]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=1,
        help="Decode this many rows; if the file has fewer, they repeat. Default: all.",
        show_default=False,
    ),
]


def demo(
    source: Source = None,
    output: Output = Path("out/demo.parquet"),
    rows: Rows = None,
    batch_size: BatchSize = None,
    fast: Fast = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Decode example sentences as `unembed decode` would, and show them beside the originals."""
    examples = read_examples(source or _examples(), rows)
    if output.suffix != ".parquet":
        raise typer.BadParameter(f"{output} is not a .parquet file", param_hint="--out")
    output.parent.mkdir(parents=True, exist_ok=True)
    to = destination_of(output)
    corpus = examples.corpus
    say(
        f"{examples.what}: {corpus.rows:,} embeddings of {corpus.dim} dimensions; only they are sent, not the sentences"
    )
    decode_to_file(
        corpus,
        to,
        lambda done: _show(done, examples, output),
        name="demo",
        batch_size=batch_size,
        options=GREEDY if fast else None,
        url=url,
        home=home,
    )


def _show(done: Done, examples: _Examples, output: Path) -> None:
    pairs = pair(examples.references, rows_of(pq.read_table(output)))
    shown = spread(pairs, SHOWN)
    console = Console(highlight=False, width=None if out.is_terminal else WIDTH)
    console.print(_heading(len(shown), pairs))
    console.print(pairs_table(shown))
    console.print(Text(LEGEND, style="dim"))
    console.print()
    console.print(done.summary)
    console.print(agreement(pairs))
    console.print()
    if done.job.error:
        say(done.job.error, "red")
    out.print(Text(f"{done.written:,} rows written to {output}"))


class _Examples(NamedTuple):
    what: str
    references: list[str]
    corpus: Corpus


def _examples() -> Path:
    if not EXAMPLES.is_file():
        raise CorpusError(
            f"there is no {EXAMPLES}: the example corpus comes with a checkout, not with the installed package. "
            "Name a .parquet file with a column `text` and a column of embeddings"
        )
    return EXAMPLES


def read_examples(path: Path, rows: int | None) -> _Examples:
    """The sentences of the file and their embeddings; CorpusError when either is missing."""
    corpus = open_corpus(path)
    if path.suffix != ".parquet" or REFERENCE not in pq.read_schema(path).names:
        raise CorpusError(f"{path} has no column {REFERENCE!r} to compare with; a demo needs a .parquet file with one")
    references = [
        text or "" for text in pq.read_table(path, columns=[REFERENCE])[REFERENCE].cast(pa.string()).to_pylist()
    ]
    if rows is None:
        return _Examples(path.name, references, corpus)
    whole = next(corpus.batches(corpus.rows))
    indices = np.arange(rows) % corpus.rows
    ids = None if whole.ids is None else [whole.ids[index] for index in indices]
    return _Examples(
        path.name, [references[index] for index in indices], corpus_from_array(whole.embeddings[indices], ids)
    )


def _heading(shown: int, pairs: list[Pair]) -> Text:
    which = f"All {len(pairs):,} rows" if shown == len(pairs) else f"{shown} of {len(pairs):,} rows, at even steps"
    score = ranking_score(pairs).replace("_", " ")
    return Text(f"\n{which} from the best to the worst by the decoder's own {score}:", style="bold")
