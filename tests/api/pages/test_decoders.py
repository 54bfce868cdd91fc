"""The decoders, and the page of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import DECODER
from tests.api.pages.conftest import ESCAPED, SCRIPT, sign_in
from tests.builders import add_batches, make_job, run_job
from unembed.api.pages.shell import percent
from unembed.models.decoder import catalog
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.store import Store
from unembed.schemas import DEFAULT_DECODER

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

RECORDED = json.loads((SHIPPED / DEFAULT_DECODER / "scores.json").read_text())

CARD = f"""# toy

It reads vectors. {SCRIPT} [a trap](javascript:alert(1)) <img src=x onerror=alert(1)> ![a picture](https://example.org/x.png)

## Scores

| set | rows |
|---|---|
| mine | 3 |
"""


def test_the_decoders_are_listed_with_what_they_read(browser: TestClient) -> None:
    page = browser.get("/decoders").text
    assert f'href="/decoders/{DEFAULT_DECODER}"' in page
    assert "Reads 384 dimensions of all-MiniLM-L6-v2." in page
    everyday = RECORDED["scores"]["tatoeba_en"]
    expected = f"word F1 {everyday['word_f1']:.2f}, {percent(everyday['exact'])} word for word, of 3,160 texts"
    assert expected in page
    # And one without scores, by what it reads
    assert "Reads 4 dimensions of toy-encoder." in page


def test_a_damaged_decoder_is_listed_as_such_and_the_others_as_ever(browser: TestClient, decoders: Path) -> None:
    (decoders / DECODER / "config.json").write_text('{"name": "<b>"}')
    page = browser.get("/decoders").text
    assert "is not a checkpoint&#39;s config" in page
    assert "Reads 384 dimensions" in page


def test_a_decoders_page_says_what_to_expect_and_how_well_it_does(browser: TestClient) -> None:
    page = browser.get(f"/decoders/{DEFAULT_DECODER}").text
    # What it is for, and how to use it
    assert "Turns 384-dimensional vectors of <strong>all-MiniLM-L6-v2</strong> into text." in page
    assert "unembed submit corpus.parquet --url http://127.0.0.1:8765" in page
    # Its limits
    assert "<strong>It invents details.</strong>" in page
    assert "<code>off_manifold</code>" in page
    # Its evaluation
    assert percent(RECORDED["calibration"]["by default"]["base_rate"]) in page
    assert "word F1 against the true text is at least 0.5" in page
    # And its card, below the page's own headings
    assert '<th scope="col">corpus BLEU</th>' in page
    assert "<h3>Vectors off the manifold</h3>" in page
    assert page.count("<h1>") == 1


def test_a_decoder_that_knows_little_of_itself_says_so(browser: TestClient) -> None:
    page = browser.get(f"/decoders/{DECODER}").text
    assert "This decoder cannot tell them apart." in page
    assert "It is not calibrated" in page
    assert "--decoder toy" in page
    assert "Its card" not in page
    assert "Nothing yet." in page


def test_a_decoders_page_draws_how_far_its_judgement_can_be_believed(browser: TestClient) -> None:
    page = browser.get(f"/decoders/{DEFAULT_DECODER}").text
    # As a picture with words, of the default first
    assert 'aria-label="4,451 held-out texts decoded by default' in page
    assert page.count('class="dot"') == 10
    # And as a table, of every way
    table = page.partition('id="curves"')[2].partition("</table>")[0]
    for way in ("by default", "greedily (--fast)", "with --edits 2", "with --edits 2 --embed 8"):
        assert f'<td class="whole">{way}</td>' in table
    # And the card has it too
    assert "by the tenth that their" in page


def test_a_decoder_that_was_calibrated_before_curves_were_kept_says_so(browser: TestClient, decoders: Path) -> None:
    # Given a decoder of an older version: calibrated, and checked without a curve
    shipped = catalog.find(DEFAULT_DECODER).path
    older = decoders / "older"
    older.mkdir()
    config = json.loads((shipped / "config.json").read_text())
    (older / "config.json").write_text(json.dumps({**config, "name": "older"}))
    report = {"rows": 300, "base_rate": 0.5, "auroc": 0.9, "ece": 0.02}
    (older / "scores.json").write_text(json.dumps({"scores": {}, "calibration": {"by default": report}}))
    # When its page is read, Then it has what there is, and says what there is not
    page = browser.get("/decoders/older").text
    assert "0.90" in page
    assert "There is no curve" in page
    assert 'class="dot"' not in page


@pytest.mark.parametrize(
    ("decoded", "said"),
    [
        ({"decoded": "by default"}, "Texts that it was not trained on, decoded by default<"),
        ({}, "Texts that it was not trained on; the card says how they were decoded<"),  # of an older version
    ],
)
def test_a_decoders_scores_say_how_the_texts_were_decoded(
    browser: TestClient, decoders: Path, decoded: dict[str, str], said: str
) -> None:
    (decoders / DECODER / "scores.json").write_text(json.dumps({"scores": {"a": {"rows": 9}}, **decoded}))
    assert said in browser.get(f"/decoders/{DECODER}").text


def test_an_unknown_decoder_is_not_there(browser: TestClient) -> None:
    answer = browser.get("/decoders/none%3Cb%3E")
    assert answer.status_code == 404
    assert "unknown decoder" in answer.text
    assert "<b>" not in answer.text


def test_a_card_brings_no_markup_of_its_own(browser: TestClient, decoders: Path) -> None:
    # Given a decoder whose card has scripts, in Markdown and in HTML
    (decoders / DECODER / "README.md").write_text(CARD)
    page = browser.get(f"/decoders/{DECODER}").text
    # When its page is read, Then they are text, and nothing is loaded or run
    assert ESCAPED in page
    for trap in ("<script>alert", "<img src=x", 'href="javascript', 'src="https://example.org'):
        assert trap not in page
    # And what the card says is there
    assert "<h3>Scores</h3>" in page
    assert "<td>mine</td>" in page


def test_what_was_decoded_here_is_drawn_by_its_quality(browser: TestClient, store: Store) -> None:
    # Given a job of five rows with a quality of 0.5, and one without a text
    job = make_job(store, decoder=DECODER)
    add_batches(store, job, (6,))
    run_job(store, job, errors=(0,))
    # When the decoder's page is read, Then it says so, as a picture with words, and as a table
    page = browser.get(f"/decoders/{DECODER}").text
    assert "6 rows so far, 1 of them without a text" in page
    assert "0.4 to 0.5: 5 rows" in page
    assert '<tr><th scope="row">0.4 to 0.5</th><td class="n">5</td></tr>' in page


def test_decoders_need_a_key_where_there_are_any(browse: Callable[..., TestClient], store: Store) -> None:
    client = browse()
    sign_in(client, store, "mine")
    assert client.get("/decoders").status_code == 200
    client.cookies.clear()
    for path in ("/decoders", f"/decoders/{DECODER}"):
        assert client.get(path).status_code == 303
