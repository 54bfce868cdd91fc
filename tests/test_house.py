"""The house itself: where imports may point, what is never loaded, and what a fresh clone finds."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.codes import FailureCode

ROOT = Path(__file__).resolve().parent.parent
NOT_BY_FOLDER = ("models", "worker", "api", "migrations", "examples")
ROOMS = ("unembed", *NOT_BY_FOLDER, "benchmarks")
HEAVY = {"torch", "celery", "kombu", "sqlalchemy", "redis", "fastapi", "transformers"}
PICKLING_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def _pickle_loading(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and cause of everything in the tree that could load a pickle."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module)):
                modules = {module.partition(".")[0]}
            case _:
                modules = set()
        for module in modules & PICKLING_MODULES:
            yield node.lineno, f"imports {module}"
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield node.lineno, "torch.load"
            case ast.Attribute(attr="read_pickle"):
                yield node.lineno, "read_pickle"
            case ast.keyword(arg="allow_pickle", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                yield value.lineno, "allow_pickle"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="load"), keywords=keywords) if (
                not any(keyword.arg == "allow_pickle" for keyword in keywords)
            ):
                yield node.lineno, "np.load without allow_pickle=False"


def test_imports_point_one_way() -> None:
    # Given the contracts in pyproject.toml, when the linter reads every import, then none is broken
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_layers_leave_nothing_out() -> None:
    # Given the contracts that say which way imports point
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = [one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    # Then every module has to be in a layer, and no import is excused
    assert {one["containers"][0] for one in layers} == {"unembed", "unembed.models"}
    for one in layers:
        assert one["exhaustive"], one["name"]
        assert "ignore_imports" not in one, one["name"]


@pytest.mark.parametrize("room", ["models", "api", "worker", "migrations"])
def test_a_room_is_linked_into_the_one_package(room: str) -> None:
    # Given a folder at the top, When its module is asked for, Then it is the one inside `unembed`
    link = ROOT / "unembed" / room
    assert link.is_symlink(), f"{link} is no link; git makes links only where core.symlinks is true"
    assert link.readlink() == Path("..") / room
    found = find_spec(f"unembed.{room}")
    assert found is not None
    assert found.name == f"unembed.{room}"


def test_no_room_is_imported_by_its_folders_name() -> None:
    # Given every import, When it is absolute, Then it does not begin with a name that a project may have for its own
    found = []
    for path, tree in _sources():
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    modules = [name.name for name in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            found += [f"{path}: {one}" for one in modules if one.partition(".")[0] in NOT_BY_FOLDER]
    assert found == []


@pytest.mark.parametrize("module", ["unembed", "unembed.client", "unembed.cli"])
def test_the_face_imports_nothing_heavy(module: str) -> None:
    # Given a fresh interpreter
    code = f"import sys, {module}; print(*({HEAVY!r} & sys.modules.keys()))"

    # When a pipeline imports the face, then none of what only a server needs comes with it
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_verb_imports_torch_before_it_runs() -> None:
    # Given a fresh interpreter, when every verb's module is imported, as `unembed --help` does
    code = (
        "import sys; from importlib import import_module; from unembed.cli.app import VERBS\n"
        "for verb in VERBS.values(): import_module(f'unembed.cli.{verb.module}')\n"
        "print(*({'torch', 'transformers', 'celery', 'fastapi'} & sys.modules.keys()))"
    )

    # Then none of what takes seconds comes with it
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_pickle_is_ever_loaded() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {why}" for path, tree in _sources() for line, why in _pickle_loading(tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(p)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "pd.read_pickle(p)",
    ],
)
def test_the_search_for_pickles_finds_one(source: str) -> None:
    assert list(_pickle_loading(ast.parse(source)))


def test_each_code_of_a_failure_is_spelt_once() -> None:
    # Given the codes, When every string in the rooms is looked at, Then none is a code but in the list of them
    codes = {str(code) for code in FailureCode}
    spelt = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for path, tree in _sources()
        if path != ROOT / "unembed" / "codes.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in codes
    ]
    assert spelt == [], "use unembed.codes.FailureCode"


def test_no_class_name_is_defined_twice() -> None:
    # Given every public class in the rooms, When they are listed by name, Then each name is that of one class
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(("room", "others"), [("api", {"attempts", "sweeping"}), ("worker", {"requeue", "results"})])
def test_a_room_uses_only_its_own_parts_of_the_store(room: str, others: set[str]) -> None:
    # Given every `store.<part>` in a room, When they are listed, Then no part is the other room's
    used = {
        node.attr
        for path, tree in _sources()
        if path.is_relative_to(ROOT / room)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in ("store", "_store")
    }
    assert used
    assert not used & others


def test_make_without_a_target_lists_them_all() -> None:
    # Given a machine that has make
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")

    # When no target is named
    done = subprocess.run([make, "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)

    # Then each of them is shown with what it does
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and len(line.split()) > 1}
    assert {"demo", "test", "faults", "check", "bench", "compare", "train", "up", "wheels", "clean", "help"} <= listed


def test_every_version_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^+ ]*", pin), f"{pin!r} is no plain pin"
    assert not any(pin.startswith("unembed") for pin in pins)


@pytest.fixture(scope="module")
def examples() -> pa.Table:
    return pq.read_table(ROOT / "examples" / "sentences.parquet")


def test_the_examples_are_five_hundred_different_sentences_or_more(examples: pa.Table) -> None:
    texts = examples["text"].to_pylist()
    assert len(texts) >= 500
    assert len({text.casefold() for text in texts}) == len(texts)
    assert len(set(examples["id"].to_pylist())) == len(texts)


def test_the_examples_have_finite_embeddings_of_length_one(examples: pa.Table) -> None:
    assert examples.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    vectors = examples["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 384)
    assert vectors.shape[0] == examples.num_rows
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_the_examples_are_those_of_the_text_file(examples: pa.Table) -> None:
    lines = (ROOT / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert examples["text"].to_pylist() == lines
