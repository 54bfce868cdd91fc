"""How the verbs that serve log: as their flag says, or the environment; and where it is JSON, their errors too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import typer

from unembed.models import logs


@contextmanager
def logged(log_format: Literal["text", "json"] | None) -> Iterator[None]:
    """Hands the flag to this process and to those that it starts; where logs are JSON, what the block raises is one."""
    if log_format is not None:
        os.environ[logs.VARIABLE] = log_format
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if logs.chosen() == "text":
            raise
        logs.end_logged(error)
