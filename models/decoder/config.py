"""What a checkpoint says of itself: the numbers of a network and what it was trained on. Free of torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from unembed.errors import BudgetError, UnknownArchitectureError
from unembed.schemas import Wire

Architecture = Literal["resource_efficient_v21"]  # of networks
PHRASE_BANK: Final = "phrase_bank"
HYBRID: Final = "hybrid"
ARCHITECTURES: Final[tuple[str, ...]] = ("resource_efficient_v21", PHRASE_BANK, HYBRID)
DEFAULT_BUDGET: Final = 800_000  # parameters


class NetworkConfig(Wire):
    """The shape of a RET v2.1 network; the defaults are its definition, only the bridge follows the embedder."""

    architecture: Architecture = "resource_efficient_v21"
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)] = 768
    hidden_dim: Annotated[int, Field(ge=2)] = 256
    heads: Annotated[int, Field(ge=1)] = 2
    mlp_dim: Annotated[int, Field(ge=1)] = 384
    vocab_size: Annotated[int, Field(ge=4)] = 256
    passes: Annotated[int, Field(ge=1, le=16)] = 1  # how often the one shared layer is applied
    max_pieces: Annotated[int, Field(ge=1, le=4096)] = 96  # the longest text it was trained on, end mark included

    def parts(self) -> dict[str, int]:
        """Parameters by part, as in the table of the architecture; independent of any tensor."""
        hidden = self.hidden_dim
        return {
            "bridge": self.embedding_dim * hidden,
            "bridge_norm": 2 * hidden,
            "pieces": self.vocab_size * hidden,
            "attention": hidden * 3 * hidden + hidden * hidden,
            "mlp": 2 * hidden * self.mlp_dim,
            "layer_norms": 4 * hidden,
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
    normalised: bool = True  # vectors are scaled to unit length before the bridge
    calibration: Calibration | None = None
    seen_calibration: Calibration | None = None  # of texts that were embedded again

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
    # Ranked by the encoder, the decoder answers when its cosine and this are at least the phrase's.
    margin: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.1
    # Without the encoder, it answers while the phrase's cosine is at most this. None: always.
    known_from: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0  # a decoding of less overall_quality does not answer


AnyConfig = CheckpointConfig | BankConfig | HybridConfig


def check_architecture(name: str) -> None:
    """Raises UnknownArchitectureError, listing those there are."""
    if name not in ARCHITECTURES:
        raise UnknownArchitectureError(f"unknown architecture {name!r}; there are: {', '.join(ARCHITECTURES)}")
