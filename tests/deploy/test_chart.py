"""The Helm chart: its values, its names and KEDA's query always; what it renders where helm is installed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from sqlalchemy import text

from tests.builders import add_batches, make_job
from unembed.models.environment import FILE
from unembed.models.settings import Settings
from unembed.models.store import Store

CHART: Final = Path(__file__).parent.parent.parent / "deploy" / "helm" / "unembed"
TEMPLATES: Final = sorted((CHART / "templates").iterdir())
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
KUBERNETES: Final = "1.34"

# The least that has to be given.
GIVEN: Final[dict[str, Any]] = {
    "database": {"host": "postgres", "passwordSecret": {"name": "database"}},
    "redis": {"url": "redis://redis:6379/0"},
    "apiKeysSecret": {"name": "keys"},
}
# Everything that is off.
ALL: Final[dict[str, Any]] = {
    **GIVEN,
    "redis": {"url": "rediss://redis:6379/0", "passwordSecret": {"name": "redis"}},
    "payloads": {"url": "redis://vectors:6379/0", "passwordSecret": {"name": "vectors"}},
    "settings": {"max_queued_rows": 200_000_000, "job_ttl": "30d", "events": False},
    "api": {"ingress": {"enabled": True, "host": "unembed.example.com", "tlsSecret": "tls", "className": "nginx"}},
    "worker": {"autoscaling": {"enabled": True}},
    "flower": {"enabled": True, "basicAuthSecret": {"name": "flower"}},
    "networkPolicy": {"from": [{"namespaceSelector": {}}], "databaseTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "monitoring": {"serviceMonitor": {"enabled": True, "keySecret": {"name": "reader"}}, "rules": {"enabled": True}},
}

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed: nothing can be rendered")


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As Helm does it: folders into each other, anything else in place of what was there."""
    result = dict(below)
    for name, value in above.items():
        was = result.get(name)
        result[name] = merged(was, value) if isinstance(value, dict) and isinstance(was, dict) else value
    return result


def refused(given: dict[str, Any]) -> list[str]:
    """Where the values are wrong."""
    found = jsonschema.Draft7Validator(SCHEMA).iter_errors(merged(VALUES, given))
    return sorted(".".join(map(str, error.absolute_path)) for error in found)


def test_the_schema_is_one_and_takes_what_has_to_be_given_and_no_less() -> None:
    # Given the schema, and the values that the chart has
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    # When they are checked alone, Then what is missing is named
    assert refused({}) == [
        "apiKeysSecret.name",
        "database.host",
        "database.passwordSecret.name",
        "redis.url",
    ]
    # And with the least that has to be given, and with everything, they are taken
    assert refused(GIVEN) == refused(ALL) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"worker": {"gpus": 1}}, "worker"),
        ({"worker": {"gpu": {"count": 2}}}, "worker.gpu.count"),
        ({"worker": {"terminationGracePeriodSeconds": 5}}, "worker.terminationGracePeriodSeconds"),
        ({"redis": {"url": "redis://:secret@redis:6379/0"}}, "redis.url"),
        ({"settings": {"database_url": "postgresql://elsewhere/d"}}, "settings"),
        ({"settings": {"UNEMBED_LEASE": "90s"}}, "settings"),
        ({"flower": {"enabled": True}}, "flower.basicAuthSecret.name"),
        ({"api": {"ingress": {"enabled": True}}}, "api.ingress.host"),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "monitoring.serviceMonitor.keySecret.name"),
        ({"api": {"replicas": 0}}, "api.replicas"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_installed(wrong: dict[str, Any], where: str) -> None:
    assert set(refused(merged(GIVEN, wrong))) == {where}


def test_every_value_that_a_template_reads_is_there() -> None:
    # Given the templates, When they name a value, Then values.yaml has it
    for template in TEMPLATES:
        for path in re.findall(r"\.Values\.([\w.]+)", template.read_text()):
            found: Any = VALUES
            for name in path.split("."):
                assert name in found, f"{template.name}: .Values.{path}"
                found = found[name]


def test_every_variable_that_a_template_sets_is_a_setting() -> None:
    known = {f"UNEMBED_{field.upper()}{end}" for field in Settings.model_fields for end in ("", FILE)}
    named = {name for path in TEMPLATES for name in re.findall(r"name: (UNEMBED_[A-Z_]+)[ ,]", path.read_text())}
    assert named
    assert named <= known
    # And a setting that the chart itself decides cannot be given beside it
    own = {name.removeprefix("UNEMBED_").removesuffix(FILE).lower() for name in named}
    assert own <= set(SCHEMA["properties"]["settings"]["propertyNames"]["not"]["enum"])


def wanted_workers(store: Store, rows_per_worker: int) -> int:
    """What KEDA is told: the query of the chart, asked of PostgreSQL."""
    query = (CHART / "files" / "wanted-workers.sql").read_text().replace("ROWS_PER_WORKER", str(rows_per_worker))
    with store.engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_kedas_query_asks_for_as_many_workers_as_there_is_work_for(store: Store) -> None:
    # Given nothing to do, When the query is asked, Then it wants no worker
    assert wanted_workers(store, 10) == 0
    # And with five batches of 25 rows in all, it wants one for each 10 rows, and no more than there are batches
    batches = add_batches(store, make_job(store), [5, 5, 5, 5, 5])
    assert wanted_workers(store, 10) == 3
    assert wanted_workers(store, 1) == 5
    assert wanted_workers(store, 1_000_000) == 1
    # And what runs counts, and what has ended does not
    for batch in batches[:4]:
        claim = store.attempts.claim(batch.id, "worker", 60)
        assert claim is not None
        store.attempts.fail(batch.id, claim.attempt, "decode_failed", "it went wrong", final=True)
    assert store.attempts.claim(batches[4].id, "worker", 60) is not None
    assert wanted_workers(store, 1) == 1
    # And a job that was cancelled wants none
    waiting = make_job(store)
    add_batches(store, waiting, [5, 5])
    assert wanted_workers(store, 1) == 3
    store.jobs.cancel(waiting.id)
    assert wanted_workers(store, 1) == 1


def rendered(values: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    given = tmp_path / "values.yaml"
    given.write_text(yaml.safe_dump(values))
    ran = subprocess.run(
        ["helm", "template", "release", str(CHART), "-f", str(given)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The spec of each part's pod, by the part."""
    return {
        document["metadata"]["labels"]["app.kubernetes.io/component"]: document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] in ("Deployment", "Job")
    }


@needs_helm
@pytest.mark.parametrize("values", [GIVEN, ALL], ids=["least", "all"])
def test_what_is_rendered_is_what_kubernetes_takes(values: dict[str, Any], tmp_path: Path) -> None:
    # Given what the chart renders
    documents = rendered(values, tmp_path)
    assert {"Deployment", "Service", "Job", "NetworkPolicy", "PodDisruptionBudget"} <= {
        each["kind"] for each in documents
    }
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("rendered, but not checked: pip install kubernetes-validate")
    import kubernetes_validate

    # When each is checked against Kubernetes' own schemas, Then nothing is missing, and nothing too much
    for document in documents:
        if "." not in document["apiVersion"].partition("/")[0] or "k8s.io" in document["apiVersion"]:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@needs_helm
def test_no_pod_has_privileges_or_a_secret_in_its_environment(tmp_path: Path) -> None:
    # Given every pod of the chart, with all that it can have
    found = pods(rendered(ALL, tmp_path))
    assert set(found) == {"api", "worker", "migrate", "flower"}
    for pod in found.values():
        # When its rights are read, Then it has none
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        # And each secret is a file, which is mounted
        (secrets,) = [volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        files = {f"/run/secrets/unembed/{item['path']}" for each in secrets for item in each["secret"]["items"]}
        variables = {each["name"]: each["value"] for each in container["env"]}
        told = {value for value in variables.values() if value.startswith("/run/secrets")}
        assert told == files
        assert [name for name in variables if re.search("PASSWORD|KEYS|AUTH", name) and not name.endswith(FILE)] == []
        # And each of its volumes is mounted, and nothing else
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@needs_helm
def test_what_a_worker_is_given_and_when_there_are_more(tmp_path: Path) -> None:
    # Given workers that KEDA scales, When they are rendered
    documents = rendered(ALL, tmp_path)
    (worker,) = pods(documents)["worker"]["containers"]
    # Then each has one GPU, and decodes there
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "UNEMBED_DEVICE", "value": "cuda"} in worker["env"]
    # And how many there are is left to KEDA, which asks the query that was tried above, of that Deployment
    by_kind = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in documents}
    assert "replicas" not in by_kind["Deployment", "release-unembed-worker"]
    scaled = by_kind["ScaledObject", "release-unembed-worker"]
    assert scaled["scaleTargetRef"]["name"] == "release-unembed-worker"
    (trigger,) = scaled["triggers"]
    query = (CHART / "files" / "wanted-workers.sql").read_text().strip()
    assert trigger["metadata"]["query"] == query.replace("ROWS_PER_WORKER", "500000")
    assert (trigger["metadata"]["host"], trigger["metadata"]["targetQueryValue"]) == ("postgres", "1")
    # And without a GPU's name, they decode on the CPU
    cpu = pods(rendered(merged(GIVEN, {"worker": {"gpu": {"resource": ""}}}), tmp_path))["worker"]["containers"][0]
    assert {"name": "UNEMBED_DEVICE", "value": "cpu"} in cpu["env"]
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"]


def test_the_alerts_of_the_chart_are_those_of_deploy_monitoring() -> None:
    # Given the chart's alerts, When they are looked at, Then they are the same file
    alerts = CHART.parent.parent / "monitoring" / "alerts.yml"
    assert (CHART / "files" / "alerts.yml").resolve() == alerts.resolve()
    assert alerts.exists()


@needs_helm
def test_the_alerts_reach_prometheus_as_they_are(tmp_path: Path) -> None:
    (rule,) = [each for each in rendered(ALL, tmp_path) if each["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yml").read_text())


@needs_helm
def test_helm_refuses_what_the_schema_refuses(tmp_path: Path) -> None:
    ran = subprocess.run(["helm", "template", "release", str(CHART)], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "database" in ran.stderr
