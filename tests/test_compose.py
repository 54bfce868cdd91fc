"""What the compose files, .env.example and the Dockerfile promise, read from the files themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from unembed.models.environment import FILE
from unembed.models.settings import Settings

ROOT = Path(__file__).parent.parent
BASE = "docker-compose.yml"
GPU = "compose.gpu.yaml"
OURS = ("migrate", "api", "worker", "flower")


def services(name: str = BASE) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / name).read_text())["services"]
    return found


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_redis_evicts_nothing_and_keeps_an_append_only_file_on_a_volume() -> None:
    # Given the service that holds queued work, When its command is read, Then nothing accepted is lost by design
    service = services()["redis"]
    words = service["command"][-1].split()
    assert option(words, "--maxmemory-policy") == "noeviction"
    assert option(words, "--appendonly") == "yes"
    assert option(words, "--maxmemory")
    assert service["volumes"] == ["redis:/data"]


def test_ports_are_published_on_loopback_only() -> None:
    # Given every service, When its ports are read
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    # Then only those with pages have any, and none beyond this host
    assert set(published) == {"api", "flower", "prometheus", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_tables_are_there_before_anything_that_uses_them() -> None:
    # Given the one-shot migration
    found = services()
    assert found["migrate"]["restart"] == "no"
    assert found["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    # When the others' dependencies are read, Then they wait until it has succeeded, and for both servers
    for name in OURS[1:]:
        conditions = {each: needs["condition"] for each, needs in found[name]["depends_on"].items()}
        assert conditions == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_healthy",
        }, name


def test_what_runs_on_has_a_health_check() -> None:
    # Given every service, When it is not the one that ends, Then it says whether it is well
    assert [name for name, service in services().items() if "healthcheck" not in service] == ["migrate"]
    # And PostgreSQL is asked by address, for its socket answers too soon
    assert "-h 127.0.0.1" in services()["postgres"]["healthcheck"]["test"][1]


def test_every_secret_is_a_file_that_a_script_makes_and_nothing_else() -> None:
    # Given the secrets, and the services that are given them
    whole = yaml.safe_load((ROOT / BASE).read_text())
    declared = whole["secrets"]
    given = {name: service.get("secrets", []) for name, service in services().items()}
    # When they are compared, Then each is a file of its name, and is used
    assert {name: secret["file"] for name, secret in declared.items()} == {
        name: f"./secrets/{name}" for name in declared
    }
    assert {name for names in given.values() for name in names} == set(declared)
    # And each service is told of just those that it is given, by the names of their files alone
    for name, service in services().items():
        config = (ROOT / "deploy/monitoring/prometheus.yml").read_text() if name == "prometheus" else ""
        told = re.findall(r"/run/secrets/(\w+)", yaml.safe_dump(service) + config)
        assert set(told) == set(given[name]), name
    # And git and the images leave the folder out
    assert "/secrets/" in (ROOT / ".gitignore").read_text().split()
    assert "!secrets" not in (ROOT / ".dockerignore").read_text()


def test_no_secret_is_a_variable() -> None:
    # Given the variables of every service, When one is called a password or a key, Then it names a file
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|AUTH", variable):
                assert variable.endswith("_FILE"), (name, variable)
                assert value.startswith("/run/secrets/"), (name, variable)


def test_the_example_names_every_variable_and_no_other() -> None:
    # Given the variables that the compose files read
    text = (ROOT / BASE).read_text() + (ROOT / GPU).read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    # When the example is read, Then it has just these
    assert set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == used


def test_every_setting_that_is_set_is_one_of_ours() -> None:
    # Given the environment of each service, When a variable has our prefix, Then it is a setting that exists
    known = {f"UNEMBED_{field.upper()}{end}" for field in Settings.model_fields for end in ("", FILE)}
    for name, service in (services() | services(GPU)).items():
        ours = {variable for variable in service.get("environment", {}) if variable.startswith("UNEMBED_")}
        assert ours <= known, name


def test_the_api_is_open_within_its_network_and_has_keys() -> None:
    # Given the API's environment, When it listens on all addresses, Then it has keys: without, it would not start
    environment = services()["api"]["environment"]
    assert (environment["UNEMBED_HOST"], "UNEMBED_API_KEYS_FILE" in environment) == ("0.0.0.0", True)


def test_flower_is_open_within_its_network_and_has_a_password() -> None:
    # Given Flower's service, When it listens on all addresses, Then it has a password: without, it would not start
    service = services()["flower"]
    assert service["command"][:2] == ["unembed", "flower"]
    assert (option(service["command"], "--host"), "FLOWER_BASIC_AUTH_FILE" in service["environment"]) == (
        "0.0.0.0",
        True,
    )


def test_no_container_has_privileges_or_writes_to_its_own_files() -> None:
    # Given every service, When its rights are read, Then it has none, and may write only where it says
    for name, service in services().items():
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service["read_only"] is True, name
        writable = [each.partition(":")[0] for each in service.get("tmpfs", [])]
        writable += [each.split(":")[1] for each in service.get("volumes", []) if not each.endswith(":ro")]
        assert "/tmp" in writable, name


def test_no_container_is_roots() -> None:
    # Given the servers' images, which begin as root, When their users are read, Then they are others
    assert {name: service.get("user") for name, service in services().items() if name not in OURS} == {
        "redis": "redis",
        "postgres": "postgres",
        "prometheus": "65534",
        "grafana": "472",
    }
    assert [name for name, service in services().items() if service.get("user") in ("root", "0", 0)] == []
    # And ours have one of their own from the Dockerfile
    assert [name for name in OURS if "user" in services()[name]] == []
    instructions = (ROOT / "Dockerfile").read_text()
    runtime = instructions.index("AS runtime")
    assert "USER unembed" in instructions[runtime:]
    assert "USER root" not in instructions


def test_the_stages_that_compose_builds_are_in_the_dockerfile() -> None:
    # Given the targets that are built, When the Dockerfile is read, Then each is a stage of it
    stages = set(re.findall(r"^FROM .* AS ([\w-]+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {services()[name]["build"]["target"] for name in OURS} <= stages


def test_what_is_copied_into_the_image_is_not_ignored() -> None:
    # Given the files that the Dockerfile copies from the checkout
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for copied in copies for name in copied.split()]
    # When .dockerignore is read, Then it lets each through, and each exists
    admitted = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(admitted)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_both_images_have_the_decoders_that_ship() -> None:
    # Given that the API refuses a decoder it does not know, When either is installed, Then with the weights' package
    installs = re.findall(r"pip install -c .*\.\[.*", (ROOT / "Dockerfile").read_text())
    assert len(installs) == 2
    assert all("./models/decoder/weights" in install for install in installs)


def test_with_gpus_each_worker_has_one_and_a_name_of_its_own() -> None:
    # Given the override, When its services are read
    found = services(GPU)
    assert found.pop("worker")["profiles"] == ["cpu"]
    for number, (name, service) in enumerate(found.items()):
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        # Then the n-th has the n-th GPU, and is called so everywhere
        assert name == f"worker-gpu{number}"
        assert service["extends"] == {"file": BASE, "service": "worker"}
        assert (device["driver"], device["device_ids"], device["capabilities"]) == ("nvidia", [str(number)], ["gpu"])
        assert (service["hostname"], option(service["command"], "--name")) == (f"gpu{number}", f"gpu{number}")
        # And all but the first wait to be asked for
        assert service.get("profiles", []) == ([f"gpu{number}"] if number else [])


def test_a_worker_has_time_to_hand_its_batch_back() -> None:
    assert services()["worker"]["stop_grace_period"] == "60s"


def test_monitoring_starts_only_when_it_is_asked_for_and_reads_files_that_are_there() -> None:
    # Given Prometheus and Grafana
    found = services()
    assert {name for name, service in found.items() if "monitoring" in service.get("profiles", [])} == {
        "prometheus",
        "grafana",
    }
    # When their mounts are read, Then what comes from the checkout is there, and cannot be changed by them
    for name in ("prometheus", "grafana"):
        own = [each.split(":") for each in found[name]["volumes"] if each.startswith("./")]
        assert own
        for source, _, mode in own:
            assert (ROOT / source).exists(), source
            assert mode == "ro", source
    # And the path of the dashboards is the one that Grafana is told of
    provider = yaml.safe_load((ROOT / "deploy/monitoring/grafana/provisioning/dashboards/unembed.yml").read_text())
    (place,) = (provider["providers"][0]["options"]["path"],)
    assert [each for each in found["grafana"]["volumes"] if f":{place}:" in each]
