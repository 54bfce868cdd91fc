"""What a process does not use, it does not import: a start is mostly imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVER = ("torch", "tokenizers", "celery", "kombu", "redis", "sqlalchemy", "alembic", "fastapi", "uvicorn")
TRAINING = ("optuna", "sacrebleu", "scipy", "sentence_transformers", "sklearn", "unembed.models.training")
VERBS = ("submit", "status", "wait", "results", "cancel", "retry", "rm", "ls", "decode", "demo", "up")


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        (("unembed.cli.app",), (*SERVER, *TRAINING, "numpy", "pyarrow", "httpx2")),
        # What none of them imports, no one of them does.
        ((*(f"unembed.cli.{verb}" for verb in VERBS), "unembed.worker.launch"), (*SERVER, *TRAINING)),
        (
            ("unembed.worker.__main__", "unembed.worker.tasks"),
            ("torch", "tokenizers", "alembic", "celery.bin", "fastapi", *TRAINING),
        ),
        (
            ("unembed.api.server",),
            ("torch", "tokenizers", "alembic", "celery.bin", "unembed.worker.tasks", *TRAINING),
        ),
    ],
    ids=["the command", "verbs", "a worker", "the API"],
)
def test_a_start_imports_nothing_that_is_not_used(modules: tuple[str, ...], unused: tuple[str, ...]) -> None:
    program = f"import sys, {', '.join(modules)}; print(*sorted(set({unused!r}) & set(sys.modules)))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert imported.split() == []
