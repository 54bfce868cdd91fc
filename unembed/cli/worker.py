"""`unembed worker`: one worker, in the foreground, until it is told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.extras import needs
from unembed.cli.server_logs import logged
from unembed.quick_imports import quick_imports


def worker(
    name: Annotated[
        str | None,
        typer.Option(
            help="Its name before @HOST, unique on this machine. Default: gpuN if pinned to a GPU, otherwise worker."
        ),
    ] = None,
    gpu_memory: given.GpuMemory = None,
    log_format: given.LogFormat = None,
) -> None:
    """Run one worker. Its database and Redis come from the environment (UNEMBED_DATABASE_URL, UNEMBED_REDIS_URL).

    For several GPUs, run one worker on each: CUDA_VISIBLE_DEVICES=0 unembed worker --name gpu0. On TERM or Ctrl-C it
    returns its batch to the queue and ends.
    """
    given.take_gpu_memory(gpu_memory)
    with needs("worker"), quick_imports():
        from unembed.worker.main import run
    with logged(log_format):
        raise typer.Exit(run(name))
