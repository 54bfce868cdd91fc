"""Unembed turns corpora of sentence embeddings back into text, in bulk.

    import unembed

    job = unembed.Client().submit("corpus.parquet").wait()
    texts = job.to_arrow()

The names below are imported when they are first used, so that `import unembed` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from unembed.async_client import AsyncClient
    from unembed.async_job import AsyncJobHandle
    from unembed.client import Client
    from unembed.corpus import Corpus, Slice, corpus_from_array, open_corpus
    from unembed.errors import UnembedError
    from unembed.job import JobHandle
    from unembed.results import write_results
    from unembed.schemas import Batch, DecodeOptions, Generation, Job, JobState, RowStatus

    __version__: str

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Batch",
    "Client",
    "Corpus",
    "DecodeOptions",
    "Generation",
    "Job",
    "JobHandle",
    "JobState",
    "RowStatus",
    "Slice",
    "UnembedError",
    "__version__",
    "corpus_from_array",
    "open_corpus",
    "write_results",
]

_HOMES: Final = {
    "async_client": ("AsyncClient",),
    "async_job": ("AsyncJobHandle",),
    "client": ("Client",),
    "corpus": ("Corpus", "Slice", "corpus_from_array", "open_corpus"),
    "errors": ("UnembedError",),
    "job": ("JobHandle",),
    "results": ("write_results",),
    "schemas": ("Batch", "DecodeOptions", "Generation", "Job", "JobState", "RowStatus"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("unembed")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
