"""What the demo reads and what it shows; that it decodes is a matter of tests/flow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from unembed.cli import demo, main
from unembed.cli.demo_report import Pair, agreement, pair, pairs_table, spread
from unembed.schemas import Generation, RowStatus


def _row(index: int, text: str | None = "a text", quality: float | None = 0.5) -> Generation:
    if text is None:
        return Generation(index=index, status=RowStatus.ERROR, error_code="not_finite", error="2 values are NaN")
    return Generation(index=index, status=RowStatus.OK, text=text, source="some", tokens=3, overall_quality=quality)


def _shown(rendered: object, width: int = 100) -> str:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(rendered)
    return capture.get()


def test_rows_meet_their_references_by_index_in_whatever_order_they_come() -> None:
    pairs = pair(["one", "two"], [_row(1), _row(0)])
    assert [shown.reference for shown in pairs] == ["two", "one"]


def test_the_table_goes_from_the_best_to_the_worst_in_even_steps() -> None:
    # Given a hundred rows, one of them an error without any score
    pairs = [Pair("r", _row(index, quality=index / 100)) for index in range(99)] + [Pair("r", _row(99, text=None))]

    # When twelve are chosen
    indices = [shown.row.index for shown in spread(pairs, 12)]

    # Then the best is first, the error last, and between them the steps are even
    assert indices[0] == 98
    assert indices[-1] == 99
    assert indices[1:-1] == sorted(indices[1:-1], reverse=True)
    assert {first - second for first, second in pairwise(indices[:-1])} == {9}


def test_few_rows_are_all_shown() -> None:
    pairs = [Pair("r", _row(index, quality=index / 10)) for index in range(3)]
    assert [shown.row.index for shown in spread(pairs, 12)] == [2, 1, 0]


def test_markup_and_control_characters_in_a_text_are_only_text() -> None:
    # Given a decoded text that speaks to rich and to the terminal
    shown = _shown(pairs_table([Pair("[bold]r[/bold]", _row(0, "[red]x[/red] \x1b[31m \x07 [/]"))]))

    # Then its markup is shown, and its control characters are replaced
    assert "[bold]r[/bold]" in shown
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_the_table_keeps_to_the_width_it_is_given() -> None:
    shown = _shown(pairs_table([Pair("a long reference " * 9, _row(0, "a long decoding " * 9))]))
    assert max(map(len, shown.splitlines())) <= 100
    assert "…" in shown


def test_an_error_row_shows_why_it_has_no_text() -> None:
    assert "not_finite: 2 values are NaN" in _shown(pairs_table([Pair("r", _row(0, text=None))]))


def test_agreement_is_over_all_rows_and_an_error_counts_as_empty() -> None:
    shown = _shown(agreement([Pair("same.", _row(0, "same.")), Pair("other", _row(1, text=None))]))
    assert "0.500" in shown
    assert "50.0% of the rows" in shown


class TestReading:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        path = tmp_path / "three.parquet"
        vectors = pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32(), 2))
        pq.write_table(pa.table({"id": ["a", "b", "c"], "text": ["A.", "B.", "C."], "embedding": vectors}), path)
        return path

    def test_more_rows_than_there_are_repeat_them(self, corpus: Path) -> None:
        # When five rows of a corpus of three are asked for
        examples = demo.read_examples(corpus, 5)

        # Then references, ids and vectors repeat together
        (batch,) = examples.corpus.batches(10)
        assert examples.references == ["A.", "B.", "C.", "A.", "B."]
        assert batch.ids == ("a", "b", "c", "a", "b")
        assert batch.embeddings[4].tolist() == [0.0, 1.0]

    def test_without_a_number_all_rows_are_read(self, corpus: Path) -> None:
        assert demo.read_examples(corpus, None).corpus.rows == 3

    def test_a_file_without_sentences_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given vectors that nothing can be laid beside
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "bare.parquet"
        pq.write_table(pa.table({"embedding": pa.array([[1.0, 0.0]], pa.list_(pa.float32(), 2))}), path)

        # When the demo is asked for them
        with pytest.raises(SystemExit) as ended:
            main(["demo", str(path)])

        # Then it says which column is missing, and ends as for bad input
        assert ended.value.code == 2
        assert "no column 'text'" in capsys.readouterr().err

    def test_outside_a_checkout_it_says_what_is_missing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given an installed package, which has no examples beside it
        monkeypatch.setattr(demo, "EXAMPLES", tmp_path / "examples" / "sentences.parquet")

        # When the demo is called without a file
        with pytest.raises(SystemExit) as ended:
            main(["demo"])

        # Then it names what it looked for, and the way out
        assert ended.value.code == 2
        assert "comes with a checkout" in capsys.readouterr().err
