"""Texts and their embeddings: what a decoder is trained on, judged by, or made of."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unembed.corpus import Corpus, open_corpus
from unembed.corpus.columns import has_vectors
from unembed.corpus.named import FORMS, Named, exists, split_pair
from unembed.corpus.open import open_table
from unembed.corpus.stacked import Mask, joined, stacked, usable
from unembed.corpus.store_names import shown_source
from unembed.corpus.table import Table, corpus_of
from unembed.corpus.texts import lines_of, text_field, texts_at
from unembed.embedders import may_be_same
from unembed.errors import CorpusError, EmbedderError, InputError
from unembed.models.decoder.vectors import Vectors
from unembed.models.encoders.registry import shared_encoder

Say = Callable[[str], None]

_NAME: Final = re.compile(r"(?P<name>[\w.+ -]+)=(?P<rest>.*)", re.DOTALL)
_OPTIONS: Final = {"--column": ":COLUMN after the source", "--query ": "#", "--collection": "#COLLECTION"}


@dataclass(frozen=True)
class TextSet:
    """A named set of texts. Their vectors come from a source of their own, from beside the texts, or from the encoder.

    A source is whatever `unembed.corpus.named` reads: a file, a folder, a URL, a store, with columns or without.
    """

    name: str
    texts: Path | str
    embeddings: Path | str | None = None

    @property
    def word(self) -> str:
        """What `parse` makes it of, without passwords."""
        return f"{self.name}={_shown(os.fspath(self.texts), self.embeddings)}"

    @classmethod
    def parse(cls, word: str) -> TextSet:
        """From one of the `FORMS`. Raises InputError for what can be seen at once to lead nowhere."""
        name, texts, embeddings = _parts(word)
        sources = [Named.parse(each) for each in (texts, embeddings) if each is not None]
        if not all(each.source for each in sources):
            raise InputError(f"cannot read the set {shown_word(word)!r}; expected {FORMS}")
        for each in sources:
            if each.is_path and not exists(each.source):
                shown = shown_word(word)
                raise InputError(f"the set {shown!r} names {each.source!r}, which does not exist; expected {FORMS}")
        return cls(name or sources[0].stem, texts, embeddings)


def require_distinct_names(sets: Sequence[TextSet], what: str) -> None:
    """Raises InputError where two of them, called so, have the same name."""
    if len({one.name for one in sets}) < len(sets):
        raise InputError(f"two {what} have the same name; give each its own, for the table on the model card")


def shown_word(word: str) -> str:
    """A set as it was named, without passwords."""
    name, texts, embeddings = _parts(word)
    return f"{name}={_shown(texts, embeddings)}" if name else _shown(texts, embeddings)


def _parts(word: str) -> tuple[str | None, str, str | None]:
    """The name, where there is one, the texts and the embeddings."""
    match = None if exists(word) else _NAME.fullmatch(word)
    return (match["name"] if match else None, *split_pair(match["rest"] if match else word))


@dataclass(frozen=True, eq=False)
class Read:
    """N texts, each with its vector where there are vectors; rows without a text or without a vector are left out."""

    texts: list[str]
    vectors: Vectors | None  # (N, D) float16 or float32; in memory while small, mapped otherwise
    embedder: str | None = None  # whose vectors they are, where their source says it


@dataclass(frozen=True, eq=False)
class EmbeddedTexts:
    """A set with all that is wanted of it."""

    name: str
    texts: Sequence[str]  # (N,)
    vectors: Vectors  # (N, D)


def open_vectors(source: str | Path) -> Corpus:
    """The vectors of a source, SOURCE[:COLUMN]. Raises what `open_corpus` raises."""
    try:
        return _vectors_of(Named.parse(os.fspath(source)))
    except CorpusError as error:
        raise CorpusError(_in_words_of_sets(error.message)) from error


def read_set(one: TextSet, say: Say, rows: int | None = None) -> Read:
    """The texts of a set, and its vectors where it has them; of the first `rows` rows where that is given.

    Says which columns were taken, and how many rows hold no text or no vector. Raises CorpusError, InputError where
    the numbers of texts and vectors differ or nothing is left, and what `open_corpus` raises.
    """
    texts, beside = Named.parse(os.fspath(one.texts)), one.embeddings
    apart = None if beside is None else Named.parse(os.fspath(beside))
    try:
        found, corpus = _opened(one.name, texts, apart, say)
        lines = list(islice(found, rows))
        if corpus is not None and apart is not None:
            lines = _as_many(lines, corpus, one.name, whole=rows is None)
        return _matched(one.name, lines, corpus, say)
    except CorpusError as error:
        raise CorpusError(_in_words_of_sets(error.message)) from error


def together(sets: Sequence[EmbeddedTexts]) -> tuple[list[str], Vectors]:
    """The texts and vectors of sets of one dimension, one after the other."""
    return [line for one in sets for line in one.texts], joined([one.vectors for one in sets])


class Library:
    """Reads sets; those without vectors are embedded once, and kept in the folder, in half precision, if there is
    one."""

    def __init__(self, encoder: str | None, folder: Path | None, say: Say, device: str = "cpu") -> None:
        self._name, self._folder, self._say, self._device = encoder, folder, say, device
        self.embedder = encoder  # whose vectors they are: the encoder's, or what the sets have said

    def read(self, one: TextSet, rows: int | None = None) -> tuple[list[str], Vectors]:
        """N texts and their vectors (N, D), of the first `rows` rows where that is given. Raises InputError where there
        are neither vectors nor an encoder, EmbedderError where the vectors are another embedder's, and what `read_set`
        raises."""
        found = read_set(one, self._say, rows)
        if found.embedder:
            self._require_same(one.name, found.embedder)
        return found.texts, self.embedded(one.name, found.texts) if found.vectors is None else found.vectors

    def _require_same(self, name: str, embedder: str) -> None:
        if self.embedder is None:
            self.embedder = embedder
        elif not may_be_same(self.embedder, embedder):
            raise EmbedderError(f"{name} holds vectors of {embedder!r}; expected those of {self.embedder!r}")

    def read_each(self, sets: Sequence[TextSet]) -> list[EmbeddedTexts]:
        """Several sets. Raises as `read`, and InputError where their dimensions differ."""
        read = [EmbeddedTexts(one.name, *self.read(one)) for one in sets]
        for one in read:
            if (dim := one.vectors.shape[1]) != (first := read[0].vectors.shape[1]):
                raise InputError(
                    f"{one.name} has embeddings of {dim} dimensions, but {read[0].name} of {first}; expected those of "
                    "one embedder"
                )
        return read

    def read_all(self, sets: Sequence[TextSet]) -> tuple[list[str], Vectors]:
        """Of several sets, one after the other. Raises as `read_each`."""
        return together(self.read_each(sets))

    def embedded(self, name: str, lines: Sequence[str]) -> Vectors:
        """(N, D), by the encoder. Raises InputError when there is none."""
        if self._name is None:
            raise InputError(f"{name} has texts but no embeddings; expected embeddings or an encoder")
        kept = self._kept(lines)
        if kept is not None and kept.exists():
            return _checked(np.load(kept, mmap_mode="r", allow_pickle=False), lines, kept)
        self._say(f"{name}: embedding {len(lines):,} texts with {self._name}")
        encoder = shared_encoder(self._name, device=self._device)
        vectors = encoder.encode(lines, lambda done: self._say(f"  {done:,} of {len(lines):,}"))
        if kept is not None:
            vectors = vectors.astype(np.float16)
            np.save(kept, vectors)
        return vectors

    def _kept(self, lines: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256("\n".join([str(self._name), *lines]).encode()).hexdigest()[:16]
        return self._folder / f"embeddings-{digest}.npy"


def _checked(vectors: npt.NDArray[Any], lines: Sequence[str], path: Path) -> Vectors:
    if vectors.ndim != 2 or len(vectors) != len(lines):
        raise InputError(f"{path} has the shape {vectors.shape}, not ({len(lines)}, dim); remove it to embed again")
    return vectors


def _opened(name: str, texts: Named, apart: Named | None, say: Say) -> tuple[Iterator[str | None], Corpus | None]:
    """The texts, and where their vectors are."""
    if texts.is_lines:
        lines = iter(lines_of(texts))
        return lines, None if apart is None else _corpus(name, apart, say)
    text_column, vector_column = (*texts.columns, "", "")[:2]
    if apart is not None and len(texts.columns) > 1:
        raise InputError(f"{name} names the embeddings of {texts.what!r} twice; expected a column of them, or a source")
    table = open_table(texts.source, column=vector_column or None, query=texts.query, collection=texts.collection)
    place = text_field(table, text_column)
    if apart is not None:
        say(f"{name}: texts from {str(place)!r}")
        return texts_at(table, place), _corpus(name, apart, say)
    if not vector_column and not has_vectors(table.schema, table.what, lambda names: _first(table, names)):
        say(f"{name}: texts from {str(place)!r}, no vectors")
        return texts_at(table, place), None
    corpus = corpus_of(table, vector_column or None, "")
    _tell(f"{name}: texts from {str(place)!r}", corpus, say)
    return texts_at(table, place), corpus


def _vectors_of(source: Named) -> Corpus:
    if len(source.columns) > 1:
        raise InputError(f"{source.what} is of embeddings alone, but {len(source.columns)} columns are named")
    column = (*source.columns, "")[0] or None
    return open_corpus(source.source, column, "", query=source.query, collection=source.collection)


def _corpus(name: str, source: Named, say: Say) -> Corpus:
    corpus = _vectors_of(source)
    if corpus.table is not None:
        _tell(name, corpus, say)
    return corpus


def _tell(begins: str, corpus: Corpus, say: Say) -> None:
    for number, note in enumerate(corpus.notes):
        note = note.replace(", no ids", "")
        say(f"{begins}{', ' if ' from ' in begins else ': '}{note}" if not number else f"  {note}")


def _first(table: Table, names: Sequence[str]) -> pa.RecordBatch | None:
    return next(table.batches(names), None)


def _as_many(lines: list[str | None], corpus: Corpus, name: str, *, whole: bool) -> list[str | None]:
    """As many texts as vectors; empty lines at the end of a file count for nothing. Raises InputError."""
    while whole and len(lines) > corpus.rows and not lines[-1]:
        lines.pop()
    if len(lines) != corpus.rows if whole else len(lines) > corpus.rows:
        raise InputError(
            f"{name}: {len(lines)} texts need embeddings of shape ({len(lines)}, dim), not {corpus.dtype.name} "
            f"of shape ({corpus.rows}, {corpus.dim})"
        )
    return lines


def _matched(name: str, lines: Sequence[str | None], corpus: Corpus | None, say: Say) -> Read:
    """The rows with a text and, where there is a corpus, with a vector."""
    there = np.array([bool(line and line.strip()) for line in lines], np.bool_)  # (N,)
    whys = Counter({"hold no text": int((~there).sum())})
    vectors = None
    if corpus is not None:
        vectors, has_vector = _vectors(corpus, there)
        whys["hold no vector"] = int((~has_vector[: len(there)] & there).sum())
        there &= has_vector
    if not there.any():
        raise InputError(f"{name} has no row with a text{'' if corpus is None else ' and a vector'}, of {len(lines):,}")
    if count := whys.total():
        told = ", ".join(f"{number:,} {why}" for why, number in whys.items() if number)
        say(f"{name}: leaving out {count:,} of {len(lines):,} rows: {told}")
    texts = [line for line, kept in zip(lines, there, strict=True) if kept and line]
    return Read(texts, vectors, None if corpus is None else corpus.embedder)


def _vectors(corpus: Corpus, wanted: Mask) -> tuple[Vectors, Mask]:
    """Of the first rows of a corpus those that are wanted and hold a vector, and whether each of all holds one."""
    rows, kept = len(wanted), list[Mask]()

    def parts() -> Iterator[tuple[Vectors, Mask]]:
        first = 0
        for vectors, _ in corpus.chunks():
            some = vectors[: rows - first]
            kept.append(usable(some))
            yield some, kept[-1] & wanted[first : first + len(some)]
            first += len(some)
            if first == rows:
                return

    source = parts()
    some, mask = next(source)
    if len(some) == rows and mask.all() and some.dtype != np.float64:
        return some, mask  # as it lies in its file
    vectors = stacked(_again((some, mask), source), int(wanted.sum()), corpus.dim, corpus.dtype)
    return vectors, np.concatenate(kept)


def _again(first: tuple[Vectors, Mask], others: Iterator[tuple[Vectors, Mask]]) -> Iterator[tuple[Vectors, Mask]]:
    yield first
    yield from others


def _shown(*sources: Path | str | None) -> str:
    return ",".join(_without_password(os.fspath(each)) for each in sources if each is not None)


def _without_password(source: str) -> str:
    place = Named.parse(source).source
    return source.replace(place, shown_source(place), 1) if place else source


def _in_words_of_sets(message: str) -> str:
    """What `unembed decode` has options for is written into the word that names a set."""
    for option, here in _OPTIONS.items():
        message = message.replace(option, here)
    return message
