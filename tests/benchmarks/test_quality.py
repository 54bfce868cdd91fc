"""`make bench-quality` in its short form: that each way is measured, and that the page says what the numbers say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.checkout import ROOT
from benchmarks.quality import in_turns, main
from benchmarks.quality_chart import chart, frontier
from benchmarks.quality_page import DATA, chart_of, choice, page
from benchmarks.quality_ways import WAYS, DecodingWay, decoders_for, ways_for
from tests.models.decoder.test_sketch import toy_sketch
from tests.models.decoder.toy import TEXTS, random_checkpoint, vectors
from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder
from unembed.schemas import DEFAULT_DECODER, GREEDY, DecodeOptions

TWO = (
    DecodingWay("greedy", "decoder", GREEDY),
    DecodingWay("8 beams", "decoder", DecodeOptions(rank_by="decoder", edits=0)),
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def toy(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """What the program is told: a toy decoder, and eight texts with their vectors."""
    random_checkpoint(tmp_path / "toy")
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS[:8]), encoding="utf-8")
    np.save(tmp_path / "vectors.npy", vectors(8))
    texts = f"toy={tmp_path / 'texts.txt'},{tmp_path / 'vectors.npy'}"
    return ["--set", texts, "--decoder", str(tmp_path / "toy"), "--out", str(tmp_path / "docs"), "--rows", "8"]


def way(name: str, milliseconds: float, bleu: float, kind: str = "decoder") -> dict[str, Any]:
    """As in the JSON."""
    spread = {"value": milliseconds, "low": milliseconds, "high": milliseconds}
    score = {"value": bleu, "low": bleu - 1, "high": bleu + 1}
    return {"name": name, "kind": kind, "flags": f"`{name}`", "ms": spread, "embedded": 0.0, "bleu": score}


def test_the_short_form_measures_two_ways_and_writes_the_page(given: list[str], tmp_path: Path) -> None:
    # Given a toy decoder and eight texts, When two ways are measured
    assert main([*given, "--parts", "2", "--ways", "greedy;8 beams"]) == 0
    # Then both have their scores and costs, each with its interval
    docs = tmp_path / "docs"
    found = json.loads((docs / DATA).read_text(encoding="utf-8"))
    (one,) = found["sets"]
    assert (one["rows"], [each["name"] for each in one["ways"]]) == (8, ["greedy", "8 beams"])
    for each in one["ways"]:
        assert each["ms"]["value"] > 0
        for name in ("ms", "bleu", "word_f1", "exact"):
            assert each[name]["low"] <= each[name]["value"] <= each[name]["high"]
    # And the page and the chart are made of them
    assert (docs / "quality.md").read_text(encoding="utf-8") == page(found)
    assert (docs / chart_of(one)).read_text(encoding="utf-8") == chart(one)
    # And no folder of this machine is in it
    assert str(tmp_path) not in (docs / "quality.md").read_text(encoding="utf-8")


def test_what_is_stopped_keeps_the_parts_that_all_ways_have_done(
    toy: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given someone who presses Ctrl-C in the second of four parts, after the first way
    whole, calls = quality.decoded, 0

    def stop_at_the_sixth(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:  # two warm up, two are the first part
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(quality, "decoded", stop_at_the_sixth)
    # When the ways take turns, Then each has the same rows, those of the first part
    done, stopped = in_turns("toy", decoders_for(toy, None), TWO, vectors(8), 4)
    assert stopped
    assert [[len(piece.generations) for piece in done[each]] for each in TWO] == [[2], [2]]


def test_what_is_stopped_too_early_leaves_the_page_as_it_was(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a page, When someone presses Ctrl-C before anything of a new one is done
    assert main([*given, "--parts", "1", "--ways", "greedy"]) == 0
    before = (tmp_path / "docs" / "quality.md").read_bytes()

    def stop(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "decoded", stop)
    # Then it says so, and the page is the old one
    assert main(given) == 1
    assert "nothing was measured: it was stopped" in capsys.readouterr().err
    assert (tmp_path / "docs" / "quality.md").read_bytes() == before


@pytest.mark.parametrize("told", [["--ways", "none"], ["--rows", "0"], ["--parts", "0"]], ids=" ".join)
def test_what_cannot_be_measured_is_said_in_one_line(
    given: list[str], told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, *told]) == 1
    assert re.fullmatch(r"nothing was measured: .*expected.*\n", capsys.readouterr().err)
    assert not (tmp_path / "docs").exists()


def test_the_texts_that_the_encoder_gets_are_counted() -> None:
    # Given the decoder that ships, whose encoder may embed two of four candidates
    network = GenerativeDecoder.load(DEFAULT_DECODER, device="cpu")
    seeing = DecodingWay("embed 2", "encoder", DecodeOptions(candidates=4, rank_by="decoder", embed=2, edits=0))
    # When three rows are decoded that way and greedily, Then six texts went through the encoder, and none
    given = vectors(3, network.embedding_dim)
    done, _ = in_turns("three", decoders_for(network, None), (seeing, TWO[0]), given, 1)
    assert [sum(piece.embedded for piece in done[each]) for each in (seeing, TWO[0])] == [6, 0]


def test_only_ways_that_can_be_gone_are_gone_and_none_twice(toy: GenerativeDecoder, tmp_path: Path) -> None:
    # Given a toy without an encoder, with and without a sketch
    sketched = tmp_path / "sketched"
    with_sketch = load_checkpoint(tmp_path / "toy")
    save_checkpoint(sketched, replace(with_sketch, sketch=toy_sketch()))
    # When its ways are asked for, Then those that need what is missing are not among them
    assert {each.kind for each in ways_for(toy, bank=False)} == {"decoder"}
    ways = ways_for(GenerativeDecoder.load(sketched, device="cpu"), bank=False)
    assert {each.kind for each in ways} == {"decoder", "sketch"}
    # And all the others are
    assert len(ways) == len([each for each in WAYS if each.kind != "encoder"])


def test_a_bank_adds_its_nearest_phrase_and_a_hybrid(toy: GenerativeDecoder) -> None:
    # Given a bank of the very vectors, When the ways with a bank decode them, Then the nearest phrase is the text
    bank = PhraseBankDecoder(Bank.of(TEXTS[:4], vectors(4), name="bank"), "cpu")
    ways = [each for each in ways_for(toy, bank=True) if each.kind == "bank"]
    done, _ = in_turns("toy", decoders_for(toy, bank), ways, vectors(4), 1)
    assert [each.name for each in ways] == ["nearest phrase", "hybrid"]
    assert [one.text for one in done[ways[0]][0].generations] == TEXTS[:4]


def test_the_frontier_leaves_out_what_is_both_slower_and_worse() -> None:
    ways = [way("slow", 9.0, 30.0), way("beaten", 5.0, 18.0), way("fast", 1.0, 10.0), way("middle", 3.0, 20.0)]
    assert [each["name"] for each in frontier(ways)] == ["fast", "middle", "slow"]


def test_the_sentence_says_what_to_choose_from_the_numbers() -> None:
    # Given ways of which one with the encoder is beaten
    ways = [way("greedy", 1.0, 20.0), way("default", 5.0, 40.0, "sketch")]
    ways += [way("embed 8", 50.0, 50.0, "encoder"), way("poor", 60.0, 45.0, "encoder")]
    # When a sentence is made of them, Then it names the others with what they give
    said = choice({"name": "everyday", "ways": ways})
    assert "**Take the default**" in said
    assert "BLEU 40.0 at 5 ms a row" in said
    assert "`embed 8`" in said
    assert "poor" not in said


def test_the_chart_names_each_point_and_is_xml_whatever_a_set_is_called() -> None:
    # Given a set with a name that is not safe in XML, and two points in the same place
    ways = [way("here", 2.0, 20.0), way("there", 2.0, 20.0, "sketch"), way("a < b", 30.0, 0.0, "encoder")]
    # When it is drawn, Then it can be read, and the labels are all there and in different places
    drawn = ElementTree.fromstring(chart({"name": 'a "<set>"', "ways": ways}))
    texts = [one for one in drawn.iter("{http://www.w3.org/2000/svg}text") if one.text in ("here", "there", "a < b")]
    assert len({(one.get("x"), one.get("y")) for one in texts}) == 3


def test_the_page_in_the_docs_is_what_its_numbers_give() -> None:
    # Given the numbers in the docs
    found: Mapping[str, Any] = json.loads((ROOT / "docs" / DATA).read_text(encoding="utf-8"))
    # When the page and its charts are made of them, Then they are those in the docs
    hint = "run `python -m benchmarks.quality --again`, and commit what it writes"
    assert (ROOT / "docs" / "quality.md").read_text(encoding="utf-8") == page(found), hint
    for one in found["sets"]:
        assert (ROOT / "docs" / chart_of(one)).read_text(encoding="utf-8") == chart(one), hint
