from __future__ import annotations

import subprocess
import sys

import pytest

import unembed


def test_every_public_name_is_there() -> None:
    # Given the list of public names, When each is asked for, Then it is there, and dir() shows just these
    for name in unembed.__all__:
        assert getattr(unembed, name) is not None
    assert dir(unembed) == sorted(unembed.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    # Given no such name, When it is asked for, Then it is the error that Python knows
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = unembed.nothing_like_this


def test_importing_the_package_imports_no_other() -> None:
    # Given a fresh Python, When `unembed` is imported, Then numpy, pyarrow and pydantic are not
    code = "import sys, unembed; print([n for n in ('numpy', 'pyarrow', 'pydantic', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_needs_neither_the_other_rooms_nor_torch() -> None:
    # Given a fresh Python, When all of the face but its command line is imported, Then no other room is
    code = (
        "import sys, unembed, unembed.cli.app; [getattr(unembed, name) for name in unembed.__all__]; "
        "print([n for n in ('models', 'worker', 'api', 'torch', 'celery', 'sqlalchemy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
