"""What `pip install unembed` installs: one name, without weights and engine, beside the modules that a project has."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from unembed.models.decoder.native_library import NEEDS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "api", "worker", "migrations")
WEIGHTS = Path("models/decoder/weights")
ENGINE = Path("models/decoder/native")
NO_COMPILER = "no C++ compiler was found"

pytestmark = [
    pytest.mark.xdist_group("wheel"),  # built once
    pytest.mark.timeout(900),  # to compile takes half a minute of a core, which may be a busy one
]


class Wheels(NamedTuple):
    source: Path  # what they were built from
    unembed: Path
    weights: Path


class Project(NamedTuple):
    """A project's folder, and the environment that it runs in."""

    folder: Path
    python: Path

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("UNEMBED_", "PYTHON"))}
        return subprocess.run(
            command,
            cwd=self.folder,
            env=ours | {"UNEMBED_HOME": str(self.folder / "home"), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def unembed(self) -> Path:
        return self.python.with_name("unembed")


def copied_into_the_image() -> list[str]:
    """What the Dockerfile copies from the checkout before it installs."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return [name for copied in copies for name in copied.split()]


def build(*sources: Path, out: Path) -> None:
    """Offline, with the setuptools of this environment."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, *sources], check=True, capture_output=True, text=True)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Built from what the image is built from."""
    source = tmp_path_factory.mktemp("source")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in copied_into_the_image():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    build(source, source / WEIGHTS, out=out)
    return Wheels(source, next(out.glob("unembed-*.whl")), next(out.glob("unembed_weights-*.whl")))


@pytest.fixture(scope="module")
def engine(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's wheel, compiled from what the image is built from."""
    out = tmp_path_factory.mktemp("engine")
    try:
        build(wheels.source / ENGINE, out=out)
    except subprocess.CalledProcessError as error:
        if NO_COMPILER in error.stdout + error.stderr:
            pytest.skip(NO_COMPILER)
        raise AssertionError(error.stdout + error.stderr) from None
    return next(out.glob("unembed_engine-*.whl"))


def install(folder: Path, *wheels: Path) -> Project:
    """A fresh environment with these wheels, in which the dependencies of this one can be imported, but nothing that
    is installed here in editable form; and a project with modules that are named as ours are in the repository."""
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, *wheels], check=True, capture_output=True, text=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    shared = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    # A folder that a .pth names is searched, but the .pth files in it are not read.
    (packages / "shared.pth").write_text("\n".join(sorted(shared)) + "\n", encoding="utf-8")
    for room in ROOMS:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text("OWNER = 'the project'\n", encoding="utf-8")
    corpus = pq.read_table(ROOT / "examples" / "sentences.parquet")["embedding"].slice(0, 5)
    np.save(folder / "base.npy", corpus.combine_chunks().flatten().to_numpy().reshape(5, -1))
    return Project(folder, python)


@pytest.fixture(scope="module")
def project(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return install(tmp_path_factory.mktemp("project"), wheels.unembed, wheels.weights)


@pytest.fixture(scope="module")
def without_weights(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return install(tmp_path_factory.mktemp("client"), wheels.unembed)


def test_one_name_is_installed(wheels: Wheels) -> None:
    # Given the wheel, When its names are read, Then at the top there are the package and what pip keeps about it
    tops = {name.partition("/")[0] for name in names_in(wheels.unembed)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"unembed"}
    with zipfile.ZipFile(wheels.unembed) as archive:
        (listed,) = (name for name in archive.namelist() if name.endswith("top_level.txt"))
        assert archive.read(listed).decode().split() == ["unembed"]


def test_the_wheel_has_all_that_runs(wheels: Wheels) -> None:
    # Given every module, template and migration of the repository, through the links; the engine is a wheel of its own
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in ("unembed", *(f"unembed/{room}" for room in ROOMS))
        for kind in ("*.py", "*.html", "*.mako", "py.typed", "static/*")
        for path in (ROOT / folder).rglob(kind)
        if not {"build", "native"} & set(path.relative_to(ROOT).parts)
    }
    assert len([name for name in wanted if "/versions/" in name]) >= 3
    # Then each of them is in the wheel, and nothing else but what pip keeps
    found = {name for name in names_in(wheels.unembed) if ".dist-info/" not in name}
    assert found == wanted


def test_the_weights_are_a_wheel_of_their_own(wheels: Wheels) -> None:
    # Given the files of the decoders that ship
    files = {path.relative_to(ROOT / WEIGHTS) for path in (ROOT / WEIGHTS).glob("**/ret-*/*")}
    assert files
    # Then the client's wheel has none of them, and the other has them all, and no module
    assert not [name for name in names_in(wheels.unembed) if "weights/" in name or name.endswith(".safetensors")]
    found = {name for name in names_in(wheels.weights) if ".dist-info/" not in name}
    assert found == {f"unembed_weights/{path.as_posix()}" for path in files}


def test_the_engine_is_a_wheel_of_its_own(wheels: Wheels, engine: Path) -> None:
    # Given the wheels, Then unembed's is for any platform, and the engine's for any Python on this one
    assert wheels.unembed.name.endswith("-py3-none-any.whl")
    assert re.search(r"-py3-none-(?!any)\w+\.whl$", engine.name)
    # And the engine's has one library for each kind of CPU, and no source
    found = {name for name in names_in(engine) if ".dist-info/" not in name}
    kinds = NEEDS if platform.machine() in ("x86_64", "AMD64") else ("baseline",)
    assert found == {"unembed_engine/__init__.py", *(f"unembed_engine/engine_{isa}.so" for isa in kinds)}
    # And no library needs the C++ runtime of the machine that compiled it
    with zipfile.ZipFile(engine) as archive:
        assert not [name for name in found if re.search(rb"libstdc\+\+|libc\+\+|libgcc_s", archive.read(name))]


def test_the_installed_engine_decodes(wheels: Wheels, engine: Path, tmp_path: Path) -> None:
    # Given a project with the three wheels
    project = install(tmp_path, wheels.unembed, wheels.weights, engine)
    # When it decodes, Then its own library is what runs, and the decoder says which one
    code = (
        "import numpy as np\n"
        "from unembed.models.decoder import create_generative_decoder\n"
        "from unembed.models.decoder.native_library import find_native\n"
        "decoder = create_generative_decoder(embedding_dim=384, device='cpu', precision='float32')\n"
        "assert decoder.decode(np.load('base.npy')[0])\n"
        "native, _ = find_native('native')\n"
        "print(native.path)\n"
        "print(native.isa, decoder.engine)\n"
    )
    done = project.run(project.python, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    path, names = done.stdout.splitlines()
    assert Path(path).is_relative_to(tmp_path / ".venv")
    isa, running = names.split()
    assert isa == running
    # And so does the doctor
    assert f"native, {isa}: " in project.run(project.unembed, "doctor", UNEMBED_DEVICE="cpu").stdout


def test_without_a_compiler_the_build_says_so(wheels: Wheels, tmp_path: Path) -> None:
    # Given a machine whose compiler does not work, When the engine is built, Then the last line says what is missing
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", tmp_path],
        cwd=shutil.copytree(wheels.source / ENGINE, tmp_path / "source"),
        env=os.environ | {"CXX": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(NO_COMPILER)


def test_a_source_distribution_gives_the_same_wheel(wheels: Wheels, tmp_path: Path) -> None:
    # Given the sdist, which has files where the repository has links
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=wheels.source, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)  # since 3.11.4
        packed.extractall(tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not [path for path in unpacked.rglob("*") if path.is_symlink()]
    # When a wheel is built from it, Then it has the same files
    build(unpacked, out=tmp_path / "dist")
    assert names_in(next((tmp_path / "dist").glob("*.whl"))) == names_in(wheels.unembed)


def test_beside_a_projects_own_modules_both_are_found(project: Project) -> None:
    # Given an app of the project
    (project.folder / "app.py").write_text(
        "import api, migrations, models, worker\n"
        "import unembed.api.app, unembed.migrations, unembed.models.store, unembed.worker.celery\n"
        "print({one.OWNER for one in (api, migrations, models, worker)})\n"
        "print(unembed.__file__)\n",
        encoding="utf-8",
    )
    # When it runs, Then its own modules are its own, and ours are the installed ones
    done = project.run(project.python, "app.py")
    assert done.returncode == 0, done.stderr
    owners, where = done.stdout.splitlines()
    assert owners == "{'the project'}"
    assert Path(where).is_relative_to(project.folder / ".venv")


def snippets() -> list[Any]:
    """The README's Python that needs no server."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M)
    return [pytest.param(code, id=code.split("\n")[0][:40]) for code in found if "Client(" not in code]


@pytest.mark.parametrize("code", snippets())
def test_the_readmes_python_runs_there(project: Project, code: str) -> None:
    # Given a few embeddings, and the file that the examples name
    given = "import numpy as np\nembeddings = np.load('base.npy')\nembedding = embeddings[0]\n"
    shutil.copy(ROOT / "examples" / "sentences.parquet", project.folder / "corpus.parquet")
    # When the snippet runs in the project's folder, Then it runs to its end
    done = project.run(project.python, "-c", given + code)
    assert done.returncode == 0, done.stderr


def test_a_few_rows_are_decoded_in_process(project: Project) -> None:
    code = (
        "import numpy as np\n"
        "from unembed.models.decoder import create_generative_decoder\n"
        "decoder = create_generative_decoder(embedding_dim=384, device='cpu')\n"
        "print(decoder.name, sum(bool(row['text']) for row in decoder.batch_generate(np.load('base.npy'))))\n"
    )
    done = project.run(project.python, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ret-v21-minilm", "5"]


def test_the_command_lists_its_verbs_there(project: Project) -> None:
    done = project.run(project.unembed, "--help", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    assert {"decode", "doctor", "compare", "add-manifold"} <= set(done.stdout.split())


def test_the_doctor_finds_nothing_missing_there(project: Project) -> None:
    # Given the project's own modules on the path, When the doctor looks, Then our parts are found
    done = project.run(project.unembed, "doctor", PYTHONPATH=".")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ret-v21-minilm: 384 dimensions" in done.stdout
    assert "not checked" not in done.stdout


def test_a_file_is_decoded_through_the_queue_there(project: Project) -> None:
    # When the command decodes with the project's own modules on the path
    done = project.run(project.unembed, "decode", "base.npy", "-o", "x.jsonl", PYTHONPATH=".", UNEMBED_DEVICE="cpu")
    # Then every row has its text
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (project.folder / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 5


def test_without_the_weights_it_says_how_to_get_them(without_weights: Project) -> None:
    # Given the client's wheel alone, When the doctor looks, Then it says what to install
    assert "pip install 'unembed[weights]'" in without_weights.run(without_weights.unembed, "doctor").stdout
    # And so does who asks for the decoder, by its dimension or its name
    for call in ("create_generative_decoder(embedding_dim=384)", "load_decoder('ret-v21-minilm')"):
        code = f"from unembed.models.decoder import create_generative_decoder, load_decoder\n{call}\n"
        done = without_weights.run(without_weights.python, "-c", code)
        assert "pip install 'unembed[weights]'" in done.stderr.splitlines()[-1], done.stderr
