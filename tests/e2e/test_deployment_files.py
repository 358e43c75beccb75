"""docker-compose.yml and what belongs to it, read as text: what holds before anything is started."""

import ipaddress
import json
import re
from typing import Any

import pytest
import yaml

from e2e.stack import CONFIGURATION, ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
INSTANCES = sorted(name for name, service in SERVICES.items() if "build" in service)


def address_of(service: str) -> str:
    address: str = SERVICES[service]["networks"]["default"]["ipv4_address"]
    return address


def test_only_nginx_publishes_a_port_and_grafana_to_this_machine():
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "nginx": ["4000:4000"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_restarts_and_says_how_it_is(name: str):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_after_what_it_needs_is_healthy(name: str):
    others = {"nginx": INSTANCES, "mongo": [], "redis": [], "prometheus": [], "grafana": ["prometheus"]}
    needs = others.get(name, ["mongo", "redis"])
    assert SERVICES[name].get("depends_on", {}) == {other: {"condition": "service_healthy"} for other in needs}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str):
    if name not in INSTANCES:
        assert re.search(r":v?\d+(\.\d+)+(-alpine)?$", SERVICES[name]["image"])


def test_no_secret_has_a_default():
    variables = dict(re.findall(r"\$\{(\w+)([^}]*)\}", TEXT))
    assert variables.keys() == {
        "SHOP_JWT_SECRET",
        "MONGO_PASSWORD",
        "REDIS_PASSWORD",
        "SHOP_ADMIN_USERNAME",
        "SHOP_ADMIN_PASSWORD",
    }
    for name in ("SHOP_JWT_SECRET", "MONGO_PASSWORD", "REDIS_PASSWORD"):
        assert variables[name].startswith(":?")
    assert variables["SHOP_ADMIN_PASSWORD"] == ":-"


def test_the_example_of_an_environment_names_every_variable_and_no_secret():
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = TEXT + (ROOT / "deploy" / "compose.ha.yml").read_text()
    assert example.keys() == set(re.findall(r"\$\{(\w+)", used))
    assert {name for name, value in example.items() if value} == {"SHOP_ADMIN_USERNAME"}


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
        if parameter["name"] == "Idempotency-Key"
    ]
    (passed_on,) = re.findall(r'"~\^1 POST /\((.*)\)\$" keyed;', CONFIGURATION.read_text())
    assert sorted(passed_on.split("|")) == sorted(keyed)


def test_the_instances_believe_nginx_and_nobody_else():
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    addresses = [address_of(name) for name in ("nginx", *INSTANCES)]
    assert len(set(addresses)) == 4
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"]) for address in addresses)
    for name in INSTANCES:
        assert SERVICES[name]["environment"]["SHOP_TRUSTED_PROXIES"] == address_of("nginx")


def test_the_image_does_not_run_as_root_and_starts_without_a_shell():
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("FROM ")[2]
    assert re.search(r"^USER (?!root\b)\w+$", last_stage, re.MULTILINE)
    assert re.search(r'^CMD \["shop-api", "serve"\]$', last_stage, re.MULTILINE)
