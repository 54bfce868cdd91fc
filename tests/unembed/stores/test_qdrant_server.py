"""Over HTTP: a server that answers as Qdrant's REST interface is documented to; the client is the real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.unembed.stores.rows import DIM, IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import AuthError, CorpusError, StorageUnavailableError

pytest.importorskip("qdrant_client", reason="the extra `qdrant`")

KEY = "sesame-and-more"
OPTIMIZER = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0}
CONFIG = {
    "params": {"vectors": {"size": DIM, "distance": "Dot"}},
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
    "optimizer_config": {**OPTIMIZER, "flush_interval_sec": 5},
}
INFO = {"status": "green", "optimizer_status": "ok", "segments_count": 1, "config": CONFIG, "payload_schema": {}}


class Answers(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []
    broken = False

    def do_GET(self) -> None:
        found: dict[str, Any] = {
            "/collections": {"collections": [{"name": "docs"}]},
            "/collections/docs": INFO,
            "/collections/docs/exists": {"exists": True},
            "/collections/nope/exists": {"exists": False},
        }
        self._answer(found.get(self.path))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Answers.asked.append(self.path)
        if Answers.broken and len(Answers.asked) > 1:
            self._answer(None)
            return
        start, limit = asked.get("offset") or 0, asked["limit"]
        rows = range(start, min(ROWS, start + limit))
        points = [{"id": row, "vector": VECTORS[row].tolist(), "payload": {"t": TEXTS[row]}} for row in rows]
        self._answer({"points": points, "next_page_offset": rows.stop if rows.stop < ROWS else None})

    def _answer(self, result: Any) -> None:
        code = 403 if self.headers.get("api-key") != KEY else 200 if result is not None else 500
        body = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    monkeypatch.setattr("unembed.corpus.stores.qdrant_server._POINTS", 2)
    Answers.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield f"qdrant:http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_points_are_scrolled_through_a_few_at_a_time(server: str) -> None:
    table = store_table(server)

    vectors, ids = corpus_in(table)

    assert np.array_equal(vectors, VECTORS)
    assert ids == [str(row) for row in range(len(IDS))]
    assert column_of(table, "payload") == [f'{{"t": "{text}"}}' for text in TEXTS]
    assert Answers.asked == ["/collections/docs/points/scroll"] * 3
    assert table.what == f"the collection 'docs' of {server}"


def test_a_key_that_is_refused_is_one_line_without_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "wrong-key")

    with pytest.raises(AuthError, match="wants a key: put it into QDRANT_API_KEY") as raised:
        store_table(server)
    assert "wrong-key" not in raised.value.message


def test_a_server_that_fails_half_way_is_one_line(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "broken", True)

    with pytest.raises(StorageUnavailableError, match=r"qdrant:http://127\.0\.0\.1:\d+ answers 500") as raised:
        store_table(server)
    assert "\n" not in raised.value.message


def test_a_collection_that_is_not_there_is_named(server: str) -> None:
    with pytest.raises(CorpusError, match="has no collection 'nope'; its collections are 'docs'"):
        store_table(server, collection="nope")
