"""The options of decoding, each described once: flags, their help, OpenAPI and the docs are made from these fields."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from unembed.choices import Choices

Ranking = Literal["sketch", "decoder"]
Scoring = Literal["all", "none"]

_MOST_BEAMS: Final = 64


class DecodeOptions(Choices):
    """How the rows of a job are decoded; the defaults are deterministic, and put quality before speed."""

    candidates: Annotated[
        int,
        Field(
            ge=1,
            le=_MOST_BEAMS,
            description="How many candidate texts to decode for each row; the best one is kept. More are better and "
            "slower; 1 is the fastest, and greedy unless there are more beams",
            examples=[8],
        ),
    ] = 5
    rank_by: Annotated[
        Literal["auto", Ranking],
        Field(
            description="Which candidate is the best. sketch: a likely one whose sketch is near to the row's vector (a "
            "sketch estimates the embedding of a text from its words). decoder: the most likely one. auto: by the "
            "sketch if the decoder has one, otherwise by the decoder",
            examples=["sketch"],
        ),
    ] = "auto"
    embed: Annotated[
        int,
        Field(
            ge=0,
            le=_MOST_BEAMS,
            description="How many texts of each row the encoder may embed again, the best by rank_by first. Of these, "
            "the nearest to the row's vector is kept. Better and slower; needs the encoder",
            examples=[8],
        ),
    ] = 0
    edits: Annotated[
        int | None,
        Field(
            ge=0,
            le=8,
            description="How many rounds of word edits the best texts go through: words are dropped, exchanged, put in "
            "and moved, and between the texts that the encoder embeds, edited again. A single round is a quick one; "
            "more are better and slower. They need a decoder with a sketch. If not given: 1 where several candidates "
            "are ranked by a sketch, otherwise 0",
            examples=[2],
        ),
    ] = None
    beams: Annotated[
        int | None,
        Field(
            ge=1,
            le=_MOST_BEAMS,
            description="How many unfinished texts (beams) a search carries on side by side; 1 turns beam search off. "
            "If not given: as many as candidates, or 1 when sampling",
            examples=[16],
        ),
    ] = None
    length_penalty: Annotated[
        float,
        Field(
            ge=0.0,
            le=5.0,
            description="Beams are compared by log p / pieces ** length_penalty. At 1 that is the mean of the pieces; "
            "above 1, longer texts win; below 1, shorter ones",
            examples=[1.0],
        ),
    ] = 1.0
    temperature: Annotated[
        float,
        Field(
            ge=0.0,
            le=5.0,
            description="0 always takes the most likely piece (a piece is a word or a part of one). Above 0, pieces "
            "are sampled, the more freely the higher it is, and candidates are samples instead of beams",
            examples=[0.7],
        ),
    ] = 0.0
    top_k: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description="Sample only from the k most likely pieces; 0 turns it off",
            examples=[50],
        ),
    ] = 0
    top_p: Annotated[
        float,
        Field(
            gt=0.0,
            le=1.0,
            description="Sample only from the most likely pieces whose probabilities add up to p; 1 turns it off",
            examples=[0.9],
        ),
    ] = 1.0
    min_p: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            description="Sample only from pieces at least this fraction as likely as the most likely one; 0 turns it "
            "off",
            examples=[0.05],
        ),
    ] = 0.0
    # A decoder this small says a word twice that it should have said once: docs/lab.md has what this is worth.
    repetition_penalty: Annotated[
        float,
        Field(
            ge=1.0,
            le=10.0,
            description="Above 1, pieces that were already used are less likely; 1 turns it off",
            examples=[1.05],
        ),
    ] = 1.05
    no_repeat_ngram: Annotated[
        int,
        Field(
            ge=0,
            le=32,
            description="No sequence of this many pieces appears twice in a text; 0 turns it off",
            examples=[3],
        ),
    ] = 0
    max_pieces: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="The longest text, in pieces. If not given: the decoder's own limit",
            examples=[32],
        ),
    ] = None
    round_trip: Annotated[
        bool,
        Field(
            description="Embed each text again and report the cosine with the row's vector; slower, needs the encoder",
            examples=[True],
        ),
    ] = False
    scores: Annotated[
        Scoring,
        Field(
            description="Which of the scores to compute: all, or none, which is faster and leaves overall_quality, "
            "fluency, coherence and diversity empty",
            examples=["none"],
        ),
    ] = "all"

    @property
    def width(self) -> int:
        """How many beams the search has."""
        if self.beams is not None:
            return self.beams
        return 1 if self.temperature > 0.0 else self.candidates

    @property
    def rounds(self) -> int:
        """How many rounds of edits there are, where candidates are ranked by a sketch."""
        if self.edits is not None:
            return self.edits
        return 1 if self.candidates > 1 else 0

    @model_validator(mode="after")
    def _candidates_differ(self) -> Self:
        if self.temperature == 0.0 and self.candidates > self.width:
            raise ValueError(
                f"candidates is {self.candidates} with beams {self.width} at temperature 0, so some would be the same; "
                "expected at least as many beams as candidates, or a temperature above 0"
            )
        return self


GREEDY: Final = DecodeOptions(candidates=1)
