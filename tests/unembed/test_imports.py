"""What a process does not use, it does not import: a start is mostly imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVER = ("torch", "tokenizers", "celery", "kombu", "redis", "sqlalchemy", "alembic", "fastapi", "uvicorn")
TRAINING = ("optuna", "sacrebleu", "scipy", "sentence_transformers", "sklearn", "unembed.models.training")
CLIENT_VERBS = ("submit", "status", "wait", "results", "cancel", "retry", "rm", "ls")


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("unembed.cli.app", (*SERVER, *TRAINING, "numpy", "pyarrow", "httpx2")),
        *((f"unembed.cli.{verb}", (*SERVER, *TRAINING)) for verb in CLIENT_VERBS),
        ("unembed.cli.decode", (*SERVER, *TRAINING)),
        ("unembed.cli.demo", (*SERVER, *TRAINING)),
        ("unembed.cli.up", (*SERVER, *TRAINING)),
        ("unembed.worker.launch", (*SERVER, *TRAINING)),
        ("unembed.worker.__main__", ("torch", "tokenizers", "alembic", "celery.bin", "fastapi", *TRAINING)),
        ("unembed.worker.tasks", ("torch", "tokenizers", "alembic", "celery.bin", "fastapi", *TRAINING)),
        ("unembed.api.server", ("torch", "tokenizers", "alembic", "celery.bin", "unembed.worker.tasks", *TRAINING)),
    ],
)
def test_a_start_imports_nothing_that_is_not_used(module: str, unused: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*sorted(set({unused!r}) & set(sys.modules)))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert imported.split() == []
