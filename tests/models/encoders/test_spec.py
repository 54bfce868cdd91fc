"""SPEC: how an encoder is named, and the one form that a checkpoint holds."""

from __future__ import annotations

import pytest

from unembed.errors import InputError
from unembed.models.encoders.spec import parse_spec


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("all-MiniLM-L6-v2?dim=0128", "all-MiniLM-L6-v2?dim=128"),
        (
            "sentence-transformers:intfloat/e5-small-v2?prefix=passage: &dim=256",
            "sentence-transformers:intfloat/e5-small-v2?dim=256&prefix=passage:%20",
        ),
        (
            "openai:text-embedding-3-small?url=http://127.0.0.1:8000/v1/&dim=256",
            "openai:text-embedding-3-small?dim=256&url=http://127.0.0.1:8000/v1",
        ),
        ("fastembed:BAAI/bge-small-en-v1.5", "fastembed:BAAI/bge-small-en-v1.5"),
        ("model2vec:potion?prefix=a%26b=c", "model2vec:potion?prefix=a%26b%3Dc"),
        ("my_package.embedding:Model.embed?dim=8", "my_package.embedding:Model.embed?dim=8"),
    ],
)
def test_a_spec_has_one_form_which_means_the_same(given: str, form: str) -> None:
    assert str(parse_spec(given)) == form == str(parse_spec(form))
    assert parse_spec(given) == parse_spec(form)


def test_an_option_keeps_its_spaces() -> None:
    assert parse_spec("openai:some-model?prefix=passage: ").prefix == "passage: "
    assert parse_spec("openai:some-model?prefix=passage:%20").prefix == "passage: "


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("word2vec", "unknown encoder 'word2vec'; there are: all-MiniLM-L6-v2"),
        ("intfloat/e5-small-v2", "a model of the Hub is sentence-transformers:intfloat/e5-small-v2"),
        ("word2vec:x/y", "expected module:function, or one of the kinds sentence-transformers:, openai:"),
        ("openai:", "names no model; expected openai:NAME"),
        ("openai:x?dims=3", "has the option 'dims=3'; expected dim=, prefix=, url=, joined by &"),
        ("openai:x?dim=3&dim=4", "has the option 'dim' twice"),
        ("openai:x?dim=0", "has dim '0'; expected a number from 1 to 65536"),
        ("openai:x?url=ftp://there", "has url 'ftp://there'; expected one like http"),
        ("fastembed:x?url=http://there", "has the option 'url=http://there'; expected dim=, prefix="),
        ("model2vec:x?sha256=abc", "has sha256 'abc'; expected 16 to 64 hexadecimal digits"),
        ("", "unknown encoder ''"),
    ],
)
def test_what_is_no_spec_is_refused_with_what_was_expected(given: str, says: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_spec(given)
    assert says in raised.value.message


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    for url in ("http://me:hunter2@there/v1", "http://there/v1?key=hunter2"):
        with pytest.raises(InputError, match="which may be secret") as raised:
            parse_spec(f"openai:x?url={url}")
        assert "hunter2" not in raised.value.message
