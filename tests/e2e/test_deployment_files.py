"""docker-compose.yml and what belongs to it, read as text: what holds before anything is started."""

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.stack import CONFIGURATION, ROOT
from shop_api.settings import Settings
from shop_api.settings.loading import variables
from support.processes import run

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
INSTANCES = ["api1", "api2", "api3"]
ONE_SHOTS = ["secrets", "migrate"]
OF_THE_IMAGE = ["SHOP_HOST", "SHOP_PORT", "SHOP_DATA_DIR"]


def address_of(service: str) -> str:
    address: str = SERVICES[service]["networks"]["default"]["ipv4_address"]
    return address


def test_only_nginx_publishes_a_port_and_grafana_to_this_machine():
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "nginx": ["4000:4000"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOTS))
def test_every_service_restarts_and_says_how_it_is(name: str):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", ONE_SHOTS)
def test_what_does_its_work_and_ends_is_not_started_again(name: str):
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["command"][:2] == ["shop-api", name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_after_what_it_needs(name: str):
    others = {
        **{key: ["mongo", "redis", "redis-guards", "migrate"] for key in INSTANCES},
        "nginx": INSTANCES,
        "migrate": ["secrets", "mongo", "redis", "redis-guards"],
        "mongo": ["secrets"],
        "redis": ["secrets"],
        "redis-guards": ["secrets"],
        "grafana": ["prometheus"],
    }
    assert SERVICES[name].get("depends_on", {}) == {
        other: {"condition": "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"}
        for other in others.get(name, [])
    }


def test_one_service_builds_the_image_and_is_ready_before_all_others_that_run_it():
    assert [name for name, service in SERVICES.items() if "build" in service] == ["secrets"]
    own = SERVICES["secrets"]["image"]
    assert [name for name, service in SERVICES.items() if service["image"] == own] == [*INSTANCES, *ONE_SHOTS]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str):
    if name not in (*INSTANCES, *ONE_SHOTS):
        assert re.search(r":v?\d+(\.\d+)+(-alpine)?$", SERVICES[name]["image"])


def test_nothing_has_to_be_set_and_no_secret_has_a_default():
    for variable, default in re.findall(r"\$\{(\w+)([^}]*)\}", TEXT):
        assert default.startswith(":-"), variable
        assert default == ":-" or not variable.endswith(("PASSWORD", "SECRET", "SECRETS", "KEY", "URL")), variable


@pytest.mark.parametrize("name", [*INSTANCES, "migrate"])
def test_every_setting_is_taken_from_the_environment(name: str):
    environment = SERVICES[name]["environment"]
    engines = ("MONGO_URL", "REDIS_URL", "REDIS_GUARDS_URL")
    made = {f"SHOP_{name}" for name in (*engines, "JWT_SECRET", "BACKUP_KEY", "ADMIN_PASSWORD")}
    assert environment.keys() == set(variables()) - {*OF_THE_IMAGE} - made
    for variable, value in environment.items():
        assert re.fullmatch(rf"\$\{{{variable}:-[^}}]*\}}", value)
    assert made <= SERVICES["secrets"]["environment"].keys(), "what is given of these goes into their files"


def test_no_secret_is_in_a_command_and_only_one_service_writes_them():
    for name, service in SERVICES.items():
        words = str([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert "${" not in words.replace("$${", "")
        mounts = [volume for volume in service.get("volumes", ()) if volume.startswith("shop-secrets:")]
        assert mounts in ([], ["shop-secrets:/secrets" if name == "secrets" else "shop-secrets:/secrets:ro"])


def test_the_files_that_are_read_are_those_that_are_made(tmp_path: Path):
    command = [str(tmp_path) if word.startswith("/") else word for word in SERVICES["secrets"]["command"][1:]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    assert run(environment, *command).returncode == 0
    read = set(re.findall(r"/(?:secrets|first-admin)/(\w+)", TEXT))
    assert read == {file.name for file in tmp_path.iterdir()}
    urls = {name: (tmp_path / name).read_text() for name in ("mongo_url", "redis_url", "redis_guards_url")}
    settings = Settings.model_validate(urls)
    assert len({settings.redis_url, settings.redis_guards_url, None}) == 3


def test_only_what_can_be_lost_is_evicted():
    policies = {name: service["environment"]["POLICY"] for name, service in SERVICES.items() if "redis" in name}
    assert policies == {"redis": "allkeys-lru", "redis-guards": "noeviction"}


def test_the_example_of_an_environment_sets_nothing_and_names_what_is_read():
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    named = {line.removeprefix("# ").partition("=")[0] for line in lines if re.match(r"# [A-Z_]+=", line)}
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert named <= used
    assert used - set(variables()) <= named


def test_nginx_knows_every_instance_by_name_and_weight():
    servers = dict(re.findall(r"server (\S+):4000 weight=(\d)", CONFIGURATION.read_text()))
    assert servers == dict(zip(INSTANCES, "321", strict=True))
    assert SERVICES["nginx"]["extra_hosts"] == [f"{name}:{address_of(name)}" for name in INSTANCES]


def test_nginx_passes_on_what_takes_effect_once_and_no_other_creation():
    paths = json.loads((ROOT / "openapi.json").read_text())["paths"]
    keyed = [
        path.removeprefix("/")
        for path, operations in paths.items()
        for parameter in operations.get("post", {}).get("parameters", ())
        if parameter["name"] == "Idempotency-Key" and path != "/products/import"  # a stream cannot be sent again
    ]
    (passed_on,) = re.findall(r'"~\^1 POST /\((.*)\)\$" keyed;', CONFIGURATION.read_text())
    assert sorted(passed_on.split("|")) == sorted(keyed)


def test_the_instances_believe_nginx_and_nobody_else():
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    addresses = [address_of(name) for name in ("nginx", *INSTANCES)]
    assert len(set(addresses)) == 4
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"]) for address in addresses)
    for name in INSTANCES:
        assert f":-{address_of('nginx')}}}" in SERVICES[name]["environment"]["SHOP_TRUSTED_PROXIES"]


def test_the_image_does_not_run_as_root_and_starts_without_a_shell():
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("FROM ")[2]
    assert re.search(r"^USER (?!root\b)\w+$", last_stage, re.MULTILINE)
    assert re.search(r'^CMD \["shop-api", "serve"\]$', last_stage, re.MULTILINE)
