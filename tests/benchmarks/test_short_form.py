"""`make bench` in its short form: that all is measured, that all decode the same texts, and how the page looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import __main__ as program
from benchmarks import around, engine, memory, paths, peers
from benchmarks.asked import Asked
from benchmarks.measuring import Spread
from benchmarks.paths import WAYS, Way, rows_of, timed_way
from benchmarks.report import Section, gpu_section, page, plot
from benchmarks.subject import TimedProcess
from tests.services import postgres_server

NEEDED = ("ctranslate2", "ray", "transformers")

pytestmark = [
    pytest.mark.xdist_group("benchmarks"),
    pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason="the extra `bench` is not installed"),
]


@pytest.fixture
def short(tmp_path: Path) -> Asked:
    return Asked.short(tmp_path)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def test_the_engine_decodes_what_the_plain_loop_decodes(short: Asked) -> None:
    # Given the process that is timed, When both engines decode the same vectors in it, Then their pieces are the same
    given = {"precision": "float32", "rows": 32, "micro_batch": 16}
    with TimedProcess("ours.py", str(short.vectors)) as ours:
        plain, native = (ours.ask("generate_texts", engine=name, **given) for name in ("plain", "native"))
        fixed = ours.ask("generate_texts", engine="native", limit=18, at_least=18, **given)
    assert native["ids"] == plain["ids"]
    # And with a fixed length, every text has it
    assert fixed["pieces"] == 32 * 18


@pytest.mark.parametrize("rival", [("transformers", "float32"), ("ctranslate2", "float32"), ("ctranslate2", "int8")])
def test_a_peer_ends_its_texts_where_it_is_to(rival: tuple[str, str]) -> None:
    # Given a peer, When it is asked for texts of other lengths than one another, Then they are that long, or it raises
    with TimedProcess("rivals.py", *rival) as peer:
        assert peer.ask("generate_texts", lengths=[5, 18, 31, 2, 9], micro_batch=3)["pieces"] == 65


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_way_decodes_the_corpus_to_the_same_texts(way: Way, short: Asked, database: str) -> None:
    # Given a small corpus, When it is decoded that way, and by the bare loop with the same engine
    spent, memory_used = timed_way(way, short, database)
    texts = _texts(short.folder / way.program.replace(".py", ".parquet"))
    timed_way(replace(paths.BARE, engine=way.engine), short, database)
    expected = _texts(short.folder / "whole_bare.parquet")[: rows_of(way, short)]

    # Then the texts are the same, or most of them, where rounding depends on which rows are decoded together
    assert len(texts) == len(expected)
    assert (Counter(texts) & Counter(expected)).total() >= len(texts) / (2 if way.is_plain else 1)
    # And it cost something
    assert spent.wall > 0
    assert spent.cpu > 0
    assert memory_used > 0


def _texts(out: Path) -> list[str]:
    return [str(text) for text in pq.read_table(out, columns=["text"])["text"].to_pylist()]


@pytest.mark.parametrize("part", [engine, peers, around, memory], ids=lambda part: part.__name__)
def test_each_part_gives_tables_whose_rows_are_as_wide_as_their_heads(part: object, short: Asked) -> None:
    section: Section = part.measure(short)  # type: ignore[attr-defined]
    assert section.headlines
    assert all(spread.least <= spread.median <= spread.most for spread in section.headlines.values())
    assert {len(row) - len(grid.heads) for grid in section.grids for row in grid.rows} == {0}


def test_the_page_has_the_ratios_first_and_says_what_was_not_measured(tmp_path: Path) -> None:
    # Given one section and a part that failed
    section = Section("A question", [], "How it was measured.", {"us over <them>": Spread(2.0, 1.5, 2.5)})

    # When the page and its plot are written
    text = page([("CPU", "one")], [section], ["paths: RuntimeError: no"])
    drawn = plot(section.headlines)

    # Then the ratio comes before the method, the failure is said, and the name is escaped in the plot
    assert text.index("| us over <them> | 2.00 (1.50 to 2.50) |") < text.index("How it was measured.")
    assert "- paths: RuntimeError: no" in text
    assert "us over &lt;them&gt;" in drawn


def test_the_section_on_a_gpu_stays_when_the_page_is_made_again() -> None:
    # Given a page with a section that was measured on another machine
    before = "# Benchmarks\n\n## On a GPU\n\nfast\n\n## Not measured\n\n- peers: no\n"

    # When the page is made again, Then it is kept, and what follows it is not
    assert gpu_section(before) == "## On a GPU\n\nfast"
    assert page([], [], [], gpu_section(before)).endswith("## On a GPU\n\nfast\n")
    assert gpu_section("# Benchmarks\n") == ""


def test_a_part_that_fails_does_not_take_the_others_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a part that fails, and one that does not
    monkeypatch.setattr(engine, "measure", lambda asked: Section("Measured", [], "", {"x": Spread(1.0, 1.0, 1.0)}))

    def fail(asked: Asked) -> Section:
        raise RuntimeError("no peer")

    monkeypatch.setattr(peers, "measure", fail)

    # When both are asked for
    code = program.main(["--short", "--only", "peers,engine", "--out", str(tmp_path)])

    # Then the page has the one and names the other, and the command fails
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert code == 1
    assert "## Measured" in text
    assert "- peers: RuntimeError: no peer" in text
    assert (tmp_path / "benchmarks" / "ratios.svg").exists()
    assert "no peer" in capsys.readouterr().err
