"""What a checkpoint says of itself: the numbers of a network and what it was trained on. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_serializer, model_validator

from unembed.boundary import describe, unknown_name
from unembed.errors import BudgetError, InputError, UnknownArchitectureError
from unembed.models.earlier_options import are_earlier, renewed_defaults
from unembed.schemas import DecodeOptions, Wire

RET_V21: Final = "resource_efficient_v21"
RET_V2: Final = "resource_efficient_v2"
Architecture = Literal["resource_efficient_v21", "resource_efficient_v2"]  # of networks
PHRASE_BANK: Final = "phrase_bank"
HYBRID: Final = "hybrid"
ARCHITECTURES: Final[tuple[str, ...]] = (RET_V21, RET_V2, PHRASE_BANK, HYBRID)
BUDGETS: Final[Mapping[str, int]] = {RET_V21: 800_000, RET_V2: 3_200_000}  # parameters, unless others are named
V21_PARAMETERS: Final = 722_944  # of v2.1 at 768 dimensions; what a smaller bridge leaves of them, gates may take

# What RET v2.0 has otherwise than v2.1. Its attention is narrower than its residual (4 × 48 = 192 of 512), as at full
# width the three layers' attention alone would take 3.1 million parameters; why 48 and 288: docs/decisions/0007.
_RET_V2: Final = {"hidden_dim": 512, "layers": 3, "heads": 4, "head_dim": 48, "mlp_dim": 288, "vocab_size": 1000}


class NetworkConfig(Wire):
    """The shape of a RET network; the defaults are the definition of v2.1, only the bridge follows the embedder."""

    architecture: Architecture = RET_V21
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)] = 768
    hidden_dim: Annotated[int, Field(ge=2)] = 256
    layers: Annotated[int, Field(ge=1, le=64)] = 1  # with weights of their own
    heads: Annotated[int, Field(ge=1)] = 2
    head_dim: Annotated[int, Field(ge=2)] | None = None  # width of a head; None: hidden_dim / heads
    mlp_dim: Annotated[int, Field(ge=1)] = 384
    gated_units: Annotated[int, Field(ge=0)] = 0  # of the MLP: the embedding scales the first so many
    vocab_size: Annotated[int, Field(ge=4)] = 256
    passes: Annotated[int, Field(ge=1, le=16)] = 1  # how often the layers are applied, one after the other
    max_pieces: Annotated[int, Field(ge=1, le=4096)] = 96  # the longest text it was trained on, end mark included

    @classmethod
    def of(cls, architecture: str = RET_V21, **numbers: Any) -> Self:
        """The network of this name, with `numbers` in place of its own; v2.1 has as many gates as fit, unless told.

        Raises UnknownArchitectureError for a name that is not a network's.
        """
        if architecture not in BUDGETS:
            raise UnknownArchitectureError(f"unknown network {architecture!r}; there are: {', '.join(BUDGETS)}")
        own = _RET_V2 if architecture == RET_V2 else {}
        config = cls.model_validate({"architecture": architecture} | own | numbers)
        if architecture != RET_V21 or "gated_units" in numbers:
            return config
        return config.model_copy(update={"gated_units": config._gates_left()})

    def _gates_left(self) -> int:
        """How many units of the MLP can be gated without more parameters than v2.1 has at 768 dimensions."""
        left = V21_PARAMETERS - self.model_copy(update={"gated_units": 0}).parameters
        return max(0, min(self.mlp_dim, left // self.embedding_dim))

    @model_validator(mode="after")
    def _heads_can_turn(self) -> Self:
        """Rotary positions turn the halves of a head against each other."""
        if self.head_dim is None and self.hidden_dim % self.heads:
            raise ValueError(f"hidden_dim is {self.hidden_dim}, which {self.heads} heads do not divide; name head_dim")
        if self.head_width % 2:
            raise ValueError(f"a head is {self.head_width} wide; expected an even number")
        return self

    @model_validator(mode="after")
    def _gated_units_are_there(self) -> Self:
        if self.gated_units > self.mlp_dim:
            raise ValueError(f"gated_units is {self.gated_units}; expected at most the {self.mlp_dim} of the MLP")
        return self

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_dim // self.heads

    @property
    def depth(self) -> int:
        """How many layers a piece goes through."""
        return self.layers * self.passes

    def parts(self) -> dict[str, int]:
        """Parameters by part, as in the table of the architecture; independent of any tensor."""
        hidden, attention = self.hidden_dim, self.heads * self.head_width
        return {
            "bridge": self.embedding_dim * hidden,
            "bridge_norm": 2 * hidden,
            "gate": self.embedding_dim * self.gated_units,
            "pieces": self.vocab_size * hidden,
            "attention": self.layers * 4 * hidden * attention,
            "mlp": self.layers * 2 * hidden * self.mlp_dim,
            "layer_norms": self.layers * 4 * hidden,
            "final_norm": 2 * hidden,
        }

    @property
    def parameters(self) -> int:
        return sum(self.parts().values())

    def check_budget(self, budget: int) -> None:
        """Raises BudgetError, naming both numbers, when the network is larger than `budget` parameters."""
        if self.parameters > budget:
            raise BudgetError(
                f"{self.architecture} at {self.embedding_dim} dimensions has {self.parameters:,} parameters, "
                f"but at most {budget:,} are allowed"
            )


class Defaults(Wire):
    """What a decoder does when a call names nothing else; saved in its config.json."""

    options: DecodeOptions = DecodeOptions()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    quality_floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5  # overall_quality from which `quality_passed` is true

    @field_serializer("options", when_used="json")
    def _chosen(self, options: DecodeOptions) -> dict[str, Any]:
        """What nobody chose is not saved: a later version may have better defaults."""
        return options.model_dump(mode="json", exclude_defaults=True)

    @model_validator(mode="before")
    @classmethod
    def _renew_options(cls, defaults: Any) -> Any:
        """Options that an earlier version saved are read in today's words."""
        if not isinstance(defaults, dict) or not isinstance(defaults.get("options"), dict):
            return defaults
        options = defaults["options"]
        return {**defaults, "options": renewed_defaults(options)} if are_earlier(options) else defaults

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same with `changes`: fields of DecodeOptions, `seed` and `quality_floor`, by name.

        Raises InputError, naming the value and what was expected.
        """
        own = type(self).model_fields.keys() - {"options"}
        known = own | DecodeOptions.model_fields.keys()
        if unknown := sorted(changes.keys() - known):
            raise InputError(unknown_name("setting", unknown[0], known))
        try:
            options = DecodeOptions.model_validate(
                self.options.model_dump() | {name: value for name, value in changes.items() if name not in own}
            )
            named = {name: value for name, value in changes.items() if name in own}
            return type(self).model_validate(self.model_dump() | {"options": options} | named)
        except ValidationError as error:
            raise InputError(describe(error)) from None


class Calibration(Wire):
    """A logistic model of P(the decoding is faithful), fitted on held-out rows that were not trained on.

    `outcome` says what faithful means; `weights` belong to `features` of `quality.py`, in that order.
    """

    outcome: str
    rows: int
    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    lm_log_probs: tuple[
        float, ...
    ]  # quantiles over real held-out texts, ascending, evenly spaced: what fluency ranks in


class CheckpointConfig(Wire):
    """config.json of a network's checkpoint folder."""

    format: Literal[1] = 1
    name: str
    network: NetworkConfig
    encoder: str | None = None  # the embedder whose vectors it reads
    calibration: Calibration | None = None
    seen_calibration: Calibration | None = None  # of texts that were embedded again
    defaults: Defaults = Defaults()

    @model_validator(mode="before")
    @classmethod
    def _patch_normalised(cls, config: Any) -> Any:
        """Older checkpoints say that vectors are scaled to unit length, which they are in every network."""
        if isinstance(config, dict):
            return {name: value for name, value in config.items() if name != "normalised"}
        return config

    @property
    def architecture(self) -> str:
        return self.network.architecture

    @property
    def embedding_dim(self) -> int:
        return self.network.embedding_dim


class BankConfig(Wire):
    """config.json of a phrase bank's folder."""

    format: Literal[1] = 1
    architecture: Literal["phrase_bank"] = PHRASE_BANK
    name: str
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)]
    phrases: Annotated[int, Field(ge=1)]
    encoder: str | None = None  # the embedder whose vectors it holds
    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0  # the least cosine with which a phrase answers
    defaults: Defaults = Defaults()


PartName = Annotated[str, Field(min_length=1, pattern=r"^[^/\\]+$")]  # of a checkpoint; never a path


class HybridConfig(Wire):
    """config.json of a hybrid: the names of its two parts, and the rule of which to believe."""

    format: Literal[1] = 1
    architecture: Literal["hybrid"] = HYBRID
    name: str
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)]
    decoder: PartName
    bank: PartName | None = None  # None: rows that the decoder cannot answer are errors
    encoder: str | None = None
    # Where the decoder's text is embedded again, it answers when its cosine and this are at least the phrase's.
    margin: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.1
    # Otherwise it answers while the phrase's cosine is at most this. None: always.
    known_from: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0  # a decoding of less overall_quality does not answer
    defaults: Defaults | None = None  # None: those of the decoder


AnyConfig = CheckpointConfig | BankConfig | HybridConfig


def check_architecture(name: str) -> None:
    """Raises UnknownArchitectureError, listing those there are."""
    if name not in ARCHITECTURES:
        raise UnknownArchitectureError(f"unknown architecture {name!r}; there are: {', '.join(ARCHITECTURES)}")
