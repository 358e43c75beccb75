"""deploy/compose.ha.yml on top of docker-compose.yml, read as text: what holds before anything is started."""

from typing import Any

import pytest
import yaml

from e2e.test_deployment_files import COMPOSE, ROOT, SERVICES
from shop_api.settings import mongo_url, redis_url

TEXT = (ROOT / "deploy" / "compose.ha.yml").read_text()
OVERLAY: dict[str, Any] = yaml.safe_load(TEXT)["services"]
DATABASES = ["mongo", "mongo2", "mongo3"]
SERVERS = ["redis", "redis2"]
SENTINELS = ["sentinel1", "sentinel2", "sentinel3"]


def address_of(service: str) -> str:
    address: str = OVERLAY[service]["networks"]["default"]["ipv4_address"]
    return address


def test_every_instance_is_told_of_all_members_and_sentinels():
    base, command = SERVICES["secrets"]["command"], OVERLAY["secrets"]["command"]
    assert command[:4] == base[:4]
    assert command[-1] == base[-1]  # one server counts failed attempts: without it each instance counts on its own
    mongo, redis = (form.partition("=")[2] for form in command[4:-1])
    members = mongo.partition("@")[2].partition("/")[0]
    assert members.split(",") == [f"{member}:27017" for member in DATABASES]
    assert mongo_url.options(mongo)["replicaset"] == "rs0"
    address = redis_url.parse(redis)
    assert (address.kind, address.service) == ("sentinel", "shop")
    assert address.hosts == tuple((address_of(sentinel), 26379) for sentinel in SENTINELS)


def test_addresses_are_in_the_network_and_nobody_else_s():
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    taken = [s["networks"]["default"]["ipv4_address"] for s in SERVICES.values() if "networks" in s]
    own = [address_of(name) for name in (*SERVERS, *SENTINELS)]
    assert len({*taken, *own}) == len(taken) + len(own)
    assert {address.rpartition(".")[0] for address in own} == {network["subnet"].rpartition(".")[0]}


def test_the_sentinels_watch_the_first_server_and_need_two_of_three():
    for name in SENTINELS:
        script = OVERLAY[name]["entrypoint"][-1]
        assert f'"sentinel monitor shop {address_of("redis")} 6379 2"' in script
    assert OVERLAY["redis2"]["environment"]["FIRST_ROLE"] == f"replicaof {address_of('redis')} 6379"


def test_only_the_first_member_makes_the_user_which_the_others_get_from_it():
    assert "MONGO_INITDB_ROOT_PASSWORD" in SERVICES["mongo"]["entrypoint"][-1]
    assert "entrypoint" not in OVERLAY["mongo"]
    for name in DATABASES[1:]:
        assert "MONGO_INITDB" not in OVERLAY[name]["entrypoint"][-1]
        assert "environment" not in OVERLAY[name]
    assert str(DATABASES) in OVERLAY["mongo"]["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", sorted(OVERLAY.keys() - SERVICES.keys()))
def test_every_further_service_restarts_says_how_it_is_and_keeps_its_data(name: str):
    service = OVERLAY[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD-SHELL"
    assert "stop_grace_period" in service
    assert service["volumes"]
    assert "ports" not in service
    assert service["image"] == SERVICES["mongo" if name in DATABASES else "redis"]["image"]


def test_every_secret_is_read_from_a_file():
    assert "${" not in TEXT
    for name in OVERLAY.keys() - {"secrets"}:
        assert "shop-secrets:/secrets:ro" in [
            *OVERLAY[name].get("volumes", ()),
            *SERVICES.get(name, {}).get("volumes", ()),
        ]
