"""What an error of the device means. Free of torch, so that a worker's process can ask before it has imported it."""

from __future__ import annotations

from typing import Final

_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """torch says it in several ways: an error of its own on CUDA, a plain RuntimeError on a CPU and on MPS."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    )


def is_broken_device(error: BaseException) -> bool:
    """After such an error nothing works on the GPU any more, until the process is another one."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error) and "CUDA error" in str(error)
