"""More texts out of those at hand: words exchanged for words of like context, and halves of texts joined.

A network that sees the same 247,000 pairs dozens of times learns them by heart: 0.80 nats a piece on lines of its
training, 1.03 on others (docs/lab.md, section 20). The encoder makes a pair of any text, so new texts are new pairs.
That many are odd English matters little: they teach which word moves the embedding where, one word at a time.

Two words are alike when the words right before and right after them are: the positive pointwise mutual information of
each word with its neighbours on both sides, cut to `RANK` dimensions by a singular value decomposition (Levy and
Goldberg, 2014). Everything is drawn from one seed.

Nothing supposes a language, but for two things that are English: halves are joined at English words, so texts of other
languages mostly have none, and "a" and "an" are made to fit where the texts themselves keep to that rule.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError, MissingExtraError

TOKEN: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\s+|.")  # a word, a stretch of space, or any other character
LEAST_COUNT: Final = 4  # of a word that is exchanged, or put in
CONTEXTS: Final = 1500  # the words that may be a context
KEPT: Final = 60  # the most frequent words are never exchanged: they hold a sentence together
RANK: Final = 150
NEIGHBOURS: Final = 40
LEAST_LIKENESS: Final = 0.45  # cosine
RARE_WORDS_TOO: Final = 0.4  # a neighbour is drawn with probability ~ count ** this
MORE_WORDS: Final = 0.35  # besides the first, up to three more words are exchanged, each with this probability
CONNECTIVES: Final = ("and", "but", "because", "when", "if", "that", "who", "while", "to", "for", "with", "in")
SHORTEST_HALF: Final = 8  # characters
ARTICLES: Final = {"a": False, "an": True}  # each, and whether a vowel follows it
LEAST_ENGLISH: Final = 0.8  # share of both that keep to it: German has an "an", and French an "a", of its own

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LikeWords:
    """For each word, case-folded, those that stand in like places."""

    neighbours: dict[str, tuple[str, ...]]
    weights: dict[str, npt.NDArray[np.float64]]  # of each word's neighbours; their sum is 1
    written: dict[str, str]  # how a word is written inside a text
    english_articles: bool  # whether "a" and "an" are what they are in English

    @classmethod
    def learn(cls, texts: Sequence[str]) -> LikeWords:
        """Raises InputError when no word occurs often enough to learn from."""
        words = [[token for token in TOKEN.findall(text) if not token.isspace()] for text in texts]
        inside: dict[str, Counter[str]] = defaultdict(Counter)
        for text in words:
            for word in text[1:]:
                inside[word.lower()][word] += 1
        written = {word: forms.most_common(1)[0][0] for word, forms in inside.items()}
        folded = [[word.lower() for word in text] for text in words]
        counts = Counter(word for text in folded for word in text)
        vocabulary = [word for word, count in counts.items() if count >= LEAST_COUNT and word[0].isalpha()]
        if len(vocabulary) < 2:
            raise InputError(
                f"no two words occur {LEAST_COUNT} times in {len(texts)} texts, so none can be exchanged; add more"
            )
        likeness = _likeness(folded, vocabulary, [word for word, _ in counts.most_common(CONTEXTS)])
        kept = {word for word, _ in counts.most_common(KEPT)}
        neighbours, weights = {}, {}
        for word, near in zip(vocabulary, _nearest(likeness), strict=True):
            if word in kept or not len(near):
                continue
            neighbours[word] = tuple(vocabulary[place] for place in near)
            share = np.array([counts[other] for other in neighbours[word]], dtype=np.float64) ** RARE_WORDS_TOO
            weights[word] = share / share.sum()
        return cls(neighbours, weights, written, _has_english_articles(folded))

    def exchange(self, text: str, random: np.random.Generator) -> str | None:
        """The text with one to four of its words exchanged; None when none can be."""
        tokens = TOKEN.findall(text)
        places = [place for place, token in enumerate(tokens) if token.lower() in self.neighbours]
        if not places:
            return None
        first = next(place for place, token in enumerate(tokens) if not token.isspace())
        wanted = min(len(places), 1 + int(random.binomial(3, MORE_WORDS)))
        for place in random.choice(places, wanted, replace=False):
            old = tokens[place]
            new = str(random.choice(self.neighbours[old.lower()], p=self.weights[old.lower()]))
            new = self.written.get(new, new)
            raised = old[0].isupper() and self.written.get(old.lower(), old)[0].islower()
            tokens[place] = new[0].upper() + new[1:] if place == first or raised else new
        return "".join(_with_articles(tokens) if self.english_articles else tokens)


def augment(texts: Sequence[str], times: float, seed: int = 0, apart_from: Iterable[str] = ()) -> list[str]:
    """About `times` new texts for each of `texts`, in a random order: fewer where they repeat one another.

    None is one of `texts` or of `apart_from` (held-out texts), letter case aside. One in six joins the halves of two
    texts at a word that both have. Raises InputError when the texts have nothing to exchange.
    """
    random = np.random.default_rng(seed)
    like = LikeWords.learn(texts)
    refused = {text.lower() for text in (*texts, *apart_from)}
    wanted = round(times * len(texts))
    found: dict[str, None] = {}

    def offer(text: str | None) -> None:
        if text is not None and text.lower() not in refused:
            found[text] = None

    for number in range(wanted - wanted // 6):
        offer(like.exchange(texts[number % len(texts)], random))
    longest = max(map(len, texts))
    for joined in _joined(texts, wanted // 6, random):
        if len(joined) <= longest:
            offer(joined)
    new = list(found)
    if not new:
        raise InputError(f"no new text could be made from {len(texts)} texts: too few words can be exchanged; add more")
    return [new[place] for place in random.permutation(len(new))]


def _likeness(folded: Sequence[Sequence[str]], vocabulary: Sequence[str], contexts: Sequence[str]) -> Floats:
    """(V, R) unit rows: what stands before and after each word of the vocabulary."""
    try:
        from scipy.sparse import csr_matrix
        from scipy.sparse.linalg import svds
    except ImportError:
        raise MissingExtraError.of("scipy", "train") from None
    places = {word: place for place, word in enumerate(vocabulary)}
    columns = {
        word: place for place, word in enumerate([*contexts, "", "\n"])
    }  # "" is the beginning, a newline the end
    rows: list[int] = []
    neighbours: list[int] = []
    for text in folded:
        for number, word in enumerate(text):
            if (row := places.get(word)) is None:
                continue
            before = columns.get(text[number - 1] if number else "")
            after = columns.get(text[number + 1] if number + 1 < len(text) else "\n")
            for column in (before, None if after is None else len(columns) + after):
                if column is not None:
                    rows.append(row)
                    neighbours.append(column)
    shape = (len(vocabulary), 2 * len(columns))
    counts = csr_matrix((np.ones(len(rows), np.float32), (rows, neighbours)), shape=shape)
    counts.sum_duplicates()
    of_word = np.asarray(counts.sum(axis=1)).ravel()  # (V,)
    of_context = np.asarray(counts.sum(axis=0)).ravel()  # (2C,)
    entries = counts.tocoo()
    expected = of_word[entries.row] * of_context[entries.col] / max(1.0, float(of_word.sum()))
    information = np.maximum(0.0, np.log(entries.data / expected)) * np.sqrt(np.log1p(entries.data))
    matrix = csr_matrix((information, (entries.row, entries.col)), shape=shape)
    rank = min(RANK, min(shape) - 1)
    left, strength, _ = svds(matrix, k=rank, rng=np.random.default_rng(0))
    vectors = left * np.sqrt(strength)  # (V, R)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _nearest(vectors: Floats) -> Iterable[npt.NDArray[np.int64]]:
    """For each row of (V, R) the places of its nearest others, at least `LEAST_LIKENESS` alike."""
    count = min(NEIGHBOURS + 1, len(vectors))
    for begin in range(0, len(vectors), 1000):
        likeness = vectors[begin : begin + 1000] @ vectors.T  # (B, V)
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]  # (B, N)
        for row, places in enumerate(nearest):
            alike = places[likeness[row, places] >= LEAST_LIKENESS]
            yield np.sort(alike[alike != begin + row])


def _joined(texts: Sequence[str], count: int, random: np.random.Generator) -> Iterable[str]:
    """The first half of a text and the second half of another, cut before a connective that both have."""
    halves: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text in texts:
        for connective in CONNECTIVES:
            cut = text.find(f" {connective} ")
            if SHORTEST_HALF < cut < len(text) - SHORTEST_HALF:
                halves[connective].append((text[:cut], text[cut:]))
    if not halves:
        return
    names = list(halves)
    shares = np.array([len(halves[name]) for name in names], dtype=np.float64)
    for number in random.choice(len(names), count, p=shares / shares.sum()):
        pairs = halves[names[number]]
        yield pairs[random.integers(len(pairs))][0] + pairs[random.integers(len(pairs))][1]


def _has_english_articles(folded: Sequence[Sequence[str]]) -> bool:
    """Whether "a" and "an" are both there, each nearly always before the letters that it fits."""
    seen = Counter(
        (word, _begins_with_vowel(after)) for text in folded for word, after in pairwise(text) if word in ARTICLES
    )
    return all(
        seen[article, vowel] > LEAST_ENGLISH * (seen[article, vowel] + seen[article, not vowel])
        for article, vowel in ARTICLES.items()
    )


def _begins_with_vowel(word: str) -> bool:
    return word[0].lower() in "aeiou"


def _with_articles(tokens: list[str]) -> list[str]:
    """ "a" or "an", by the letter that the next word now begins with."""
    for place, token in enumerate(tokens[:-2]):
        if token.lower() in ARTICLES and tokens[place + 2][0].isalpha():
            article = "an" if _begins_with_vowel(tokens[place + 2]) else "a"
            tokens[place] = article.capitalize() if token[0].isupper() else article
    return tokens
