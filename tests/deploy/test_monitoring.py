"""The dashboard and the alerts: each query asks for what there is, and a real Prometheus finds it."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.deploy.exposition import exposition, families, series
from tests.docs.pages import anchors
from tests.flow.conftest import environment
from tests.models.decoder import toy
from tests.worker.processes import await_
from unembed.client import Client
from unembed.errors import NotFoundError
from unembed.schemas import GREEDY, JobState
from unembed.worker.launch import Stack

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
ALERTS: Final = MONITORING / "alerts.yml"
DASHBOARD: Final = MONITORING / "grafana" / "dashboards" / "unembed.json"
WITHIN: Final = 120  # seconds; the machine may be busy

# What a machine without a GPU, and a Redis whose memory has no limit, cannot show.
NOT_HERE: Final = ("gpu_memory",)
_METRIC: Final = re.compile(r"\b(?:unembed|process)_\w+")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[str]:
    """Of the dashboard, as Grafana sends them for all decoders and a range of a minute."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [query.replace("$__rate_interval", "1m").replace("$decoder", ".*") for query in found]


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    return found


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (on Debian and Ubuntu: apt install prometheus)")
    return found


def test_every_metric_that_is_asked_for_is_one_that_there_is() -> None:
    # Given every query of the dashboard and of the alerts, When its metrics are looked up, Then each is exposed
    asked = {name for query in [*queries(), *(rule["expr"] for rule in rules())] for name in _METRIC.findall(query)}
    assert asked - series() == set()
    # And but for what two others say better, nothing of ours is exposed that nobody looks at
    ours = {family.name for family in families()}
    seen = {name for name in ours for each in asked if each.startswith(name)}
    assert ours - seen == {"unembed_worker_last_done_timestamp_seconds", "unembed_worker_batches_total"}


def test_what_every_process_reads_from_sql_is_taken_once() -> None:
    # Given two processes of the API, which show the same totals, When a query reads one, Then it takes it once
    own = ("unembed_http_", "unembed_ready", "unembed_redis_", "process_")
    for query in [*queries(), *(rule["expr"] for rule in rules())]:
        shared = [name for name in _METRIC.findall(query) if not name.startswith(own)]
        assert query.count("max without (instance, pod)") >= len(shared), query


def test_each_alert_says_what_is_wrong_what_to_do_and_where_to_read_on() -> None:
    # Given the alerts, When their texts are read
    headings = anchors((ROOT / "docs" / "operating.md").read_text())
    for rule in rules():
        said = rule["annotations"]
        # Then each has all three, and the link leads to a heading
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert said["summary"].endswith("."), rule["alert"]
        assert len(said["description"]) > 40, rule["alert"]
        page, _, anchor = said["runbook"].partition("#")
        assert (page, anchor in headings) == ("docs/operating.md", True), said["runbook"]


def test_no_panel_covers_another_and_each_has_a_title_and_a_unit() -> None:
    # Given the dashboard, When its panels are laid out, Then each has a place of its own
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + across, place["y"] + down) for across in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    assert len({panel["title"] for panel in panels()}) == len(panels())
    for panel in panels():
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] in ("table", "heatmap", "stat")


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    # Given series that somebody made up for each alert, When promtool plays them, Then they do
    promtool = program("promtool")
    ran = subprocess.run([promtool, "test", "rules", "alerts_test.yml"], cwd=MONITORING, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # And each alert is tried
    tried = (MONITORING / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tried] == []


def test_prometheus_understands_our_metrics_and_has_no_advice() -> None:
    promtool = program("promtool")
    ran = subprocess.run([promtool, "check", "metrics"], input=exposition(), capture_output=True, text=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


# --- with a real Prometheus, and real jobs ----------------------------------------------------------------------------


class Prometheus:
    """A server of ours. `ask` gives the values that a query finds; AssertionError when it is none."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=60, trust_env=False)

    def get(self, path: str, **params: str) -> Any:
        answer = self._http.get(path, params=params)
        assert answer.status_code == 200, (params, answer.text)
        return answer.json()["data"]

    def ask(self, query: str) -> list[float]:
        return [float(each["value"][1]) for each in self.get("/api/v1/query", query=query)["result"]]

    def await_(self, query: str) -> None:
        """Returns when this finds something."""
        await_(lambda: bool(self.ask(query)), WITHIN, query)

    def is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        self._http.close()


def configured(folder: Path, target: str) -> Path:
    """The configuration that ships, with this target, without the key, and with an interval to wait for."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "unembed"  # as the alerts have it
    assert job.pop("authorization")["credentials_file"] == "/run/secrets/metrics_key"
    job |= {"static_configs": [{"targets": [target]}], "scrape_timeout": "1s"}
    (folder / "alerts.yml").write_text(ALERTS.read_text())
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yml"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Everything with one worker, the decoders that ship, and one whose weights are damaged."""
    decoders = tmp_path / "decoders"
    toy.random_checkpoint(decoders / "damaged", "damaged")
    (decoders / "damaged" / "model.safetensors").write_bytes(b"damaged")
    for name, value in environment(decoders).items():
        monkeypatch.setenv(name, value)
    with Stack(tmp_path / "home", workers=1) as running:
        yield running


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    binary, promtool = program("prometheus"), program("promtool")
    config = configured(tmp_path, stack.url.removeprefix("http://"))
    checked = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}", "--log.level=warn"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await_(server.is_ready, WITHIN, "Prometheus is ready")
        yield server
    finally:
        server.close()
        process.kill()
        process.wait()


def test_every_query_of_the_dashboard_and_every_alert_works_on_what_a_real_run_left(request: Any) -> None:
    # Given an API, a worker and a Prometheus that watches them
    program("prometheus")  # before a stack is started for nothing
    prometheus: Prometheus = request.getfixturevalue("prometheus")
    stack: Stack = request.getfixturevalue("stack")
    vectors = np.stack(pq.read_table(ROOT / "examples" / "sentences.parquet")["embedding"].to_numpy())[:40]
    # When jobs end well and badly, some of them after others were seen, and somebody asks for what is not there
    with Client(stack.url) as client:
        for number in (1, 2):
            done = client.submit(vectors, options=GREEDY, batch_size=10).wait(timeout=WITHIN)
            assert done.job.rows.ok == 40
            prometheus.await_(f"sum(unembed_decoded_rows_total) == {number * 40 + (number - 1) * 4}")
            with pytest.raises(NotFoundError):
                client.job("nope")
            failed = client.submit(toy.vectors(4), decoder="damaged", batch_size=4).wait(timeout=WITHIN, check=False)
            assert failed.job.state is JobState.FAILED
            prometheus.await_(f'unembed_batches{{state="dead"}} == {number}')
    # Then every query is answered, and but for what is not here, with numbers
    expected = [query for query in queries() if not any(name in query for name in NOT_HERE)]
    left = set(expected)

    def all_have_data() -> bool:
        left.difference_update(
            [query for query in left if any(not math.isnan(value) for value in prometheus.ask(query))]
        )
        return not left

    deadline = time.monotonic() + WITHIN
    while not all_have_data() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == set()
    for query in set(queries()) - set(expected):
        assert prometheus.ask(query) == []
    # And every alert is evaluated; the one that should fire does, and tells how many died
    (group,) = prometheus.get("/api/v1/rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}, [rule.get("lastError") for rule in group["rules"]]
    firing = {
        alert["labels"]["alertname"]
        for alert in prometheus.get("/api/v1/alerts")["alerts"]
        if alert["state"] == "firing"
    }
    assert firing == {"UnembedBatchesDie"}
    # And a job that is removed takes nothing back
    done = "sum(unembed_decoded_rows_total)"
    before = prometheus.ask(done)
    with Client(stack.url) as client:
        for job in client.jobs().jobs:
            client.remove(job.id)
    prometheus.await_("sum(unembed_jobs) == 0")
    assert prometheus.ask(done) == before == [88]
