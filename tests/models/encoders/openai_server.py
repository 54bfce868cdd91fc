"""A small server with OpenAI's API of embeddings, which can be busy, broken, or answer in another order."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import crc32

import numpy as np

DIM = 12


@dataclass(frozen=True)
class Refusal:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "not now"
    code: str = "busy"


@dataclass
class OpenAIServer:
    """What it was asked, and what it refuses before it answers."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    knows_base64: bool = True
    short_by: int = 0  # embeddings that are missing in each answer

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["input"]]


def vector_of(text: str, dim: int | None = None) -> np.ndarray:
    return np.random.default_rng(crc32(text.encode())).standard_normal(DIM).astype(np.float32)[:dim]


@contextmanager
def openai_server(vector: Callable[[str, int | None], np.ndarray] = vector_of) -> Iterator[OpenAIServer]:
    """`vector` is given a text and the dimensions that are asked for, if they are."""
    server = OpenAIServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.keys.append(self.headers.get("Authorization"))
            if server.refusals:
                refusal = server.refusals.pop(0)
                self._send(refusal.status, {"error": {"message": refusal.message, "code": refusal.code}}, refusal)
            elif body.get("encoding_format") and not server.knows_base64:
                self._send(422, {"error": {"message": "unknown field `encoding_format`"}})
            else:
                server.requests.append(body)
                self._send(200, {"object": "list", "model": body["model"], "data": self._data(body)})

        def _data(self, body: dict[str, Any]) -> list[dict[str, Any]]:
            """The last text first."""
            texts = list(enumerate(body["input"]))[server.short_by :]
            return [
                {"index": index, "embedding": self._coded(vector(text, body.get("dimensions")), body)}
                for index, text in reversed(texts)
            ]

        def _coded(self, vector: np.ndarray, body: dict[str, Any]) -> str | list[float]:
            if body.get("encoding_format") == "base64":
                return base64.b64encode(vector.astype("<f4").tobytes()).decode()
            return [float(number) for number in vector]

        def _send(self, status: int, document: dict[str, Any], refusal: Refusal | None = None) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (refusal.headers if refusal else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
