"""New texts from those at hand: words for words of like context, halves joined, nothing held out given away."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unembed.errors import InputError
from unembed.models.training.augment import LikeWords, augment

NAMES = ("Tom", "Mary", "Ann", "Ken", "Sue")
VERBS = ("sold", "bought", "lost", "saw", "found")
THINGS = ("apple", "boat", "car", "dog", "egg")
# More frequent than all others, with "." and the articles they are the sixty that are never exchanged.
FILLERS = tuple(f"{first}{second}{third}" for first, second, third in itertools.product("bcdf", "aeiou", "klm"))[:57]
TEXTS = [
    f"{name} {verb} {'an' if thing[0] in 'aeiou' else 'a'} {thing}."
    for name, verb, thing in itertools.product(NAMES, VERBS, THINGS)
] + [" ".join(FILLERS)] * 130


def test_words_of_like_places_are_alike() -> None:
    like = LikeWords.learn(TEXTS)
    assert set(like.neighbours["boat"]) <= set(THINGS) - {"boat"}
    assert set(like.neighbours["bought"]) == set(VERBS) - {"bought"}


def test_the_most_frequent_words_stay() -> None:
    assert not set(LikeWords.learn(TEXTS).neighbours) & {"a", "an", *FILLERS}


def test_an_exchanged_text_differs_keeps_its_shape_and_its_article_fits() -> None:
    like, random = LikeWords.learn(TEXTS), np.random.default_rng(0)
    made = {like.exchange("Tom sold an apple.", random) for _ in range(200)}
    assert len(made) > 30
    for text in made:
        assert text is not None
        name, verb, article, thing = text.removesuffix(".").split(" ")
        assert (name in NAMES, verb in VERBS, thing in THINGS) == (True, True, True), text
        assert article == ("an" if thing[0] in "aeiou" else "a"), text


def test_a_german_preposition_is_no_english_article() -> None:
    # Given German texts, in which "an" stands before any letter
    people = ("Tom", "Maria", "Anna", "Otto", "dich")
    texts = [f"{name} {verb} an {other}." for name in NAMES for verb in ("denkt", "schreibt") for other in people]
    like, random = LikeWords.learn(texts + [" ".join(FILLERS)] * 130), np.random.default_rng(0)
    # When words are exchanged, Then it stays as it is
    made = [like.exchange("Tom denkt an Maria.", random) for _ in range(50)]
    assert all(text is not None and " an " in text for text in made)


def test_a_text_with_nothing_to_exchange_gives_none() -> None:
    assert LikeWords.learn(TEXTS).exchange("Quite unknown here!", np.random.default_rng(0)) is None


def test_new_texts_are_new_and_none_is_held_out() -> None:
    held_out = ["Sue found a Dog.", "Ken lost an egg."]
    known = TEXTS[::3] + TEXTS[-130:]
    known = [text for text in known if text.lower() not in {one.lower() for one in held_out}]
    new = augment(known, 2.0, apart_from=held_out)
    assert new
    assert len(set(new)) == len(new)
    assert not {text.lower() for text in new} & {text.lower() for text in (*known, *held_out)}


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    known = TEXTS[:60] + TEXTS[-130:]
    assert augment(known, 1.0, seed=3) == augment(known, 1.0, seed=3)
    assert augment(known, 1.0, seed=3) != augment(known, 1.0, seed=4)


def test_halves_are_joined_at_a_word_that_both_texts_have() -> None:
    halves = [
        f"{name} {verb} the boat because {other} {verb} the car" for name in NAMES for other in NAMES for verb in VERBS
    ]
    texts = [text for text in halves if "Tom" not in text or "sold" in text] + [" ".join(FILLERS)] * 130
    new = augment(texts, 1.0, seed=1)
    assert all(text.count(" because ") == 1 for text in new)
    mixed = [text for text in new if len({word for word in text.split() if word in VERBS}) == 2]
    assert mixed


def test_texts_of_rare_words_alone_are_refused() -> None:
    with pytest.raises(InputError, match="no two words occur 4 times in 2 texts, so none can be exchanged"):
        augment(["Alpha beta.", "Gamma delta."], 1.0)


def test_texts_whose_words_are_all_among_the_most_frequent_are_refused() -> None:
    with pytest.raises(InputError, match="no new text could be made from 8 texts"):
        augment(["Tom sees Ann.", "Ann sees Tom."] * 4, 2.0)
