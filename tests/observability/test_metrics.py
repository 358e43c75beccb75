"""GET /metrics: what is counted, under which labels, and at what price."""

import asyncio
import json
import re
import time
from pathlib import Path

import pymongo
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from conftest import Client, client_of, running_app
from shop_api import embedded
from shop_api.app import create_app
from shop_api.observability.histogram import BOUNDS
from shop_api.settings import Settings
from support.factories import PASSWORD, a_product
from support.patience import PATIENCE

Labels = dict[str, str]


class Scrape:
    """What one answer of /metrics holds."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with at least these labels; 0 if there are none."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def scrape(client: Client) -> Scrape:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)


@pytest.fixture
async def fresh(engines: Settings):
    """A client of an app that has not been asked anything yet."""
    async with running_app(engines) as app, client_of(app) as client:
        yield client


class TestRequests:
    async def test_each_counts_once_under_its_template_method_and_status(self, fresh: Client):
        for _ in range(3):
            await fresh.get("/products/no-such-product")
        await fresh.head("/products/no-such-product")
        await fresh.post("/auth", json={})
        found = await scrape(fresh)
        total = "shop_http_requests_total"
        assert found.value(total, route="/products/{product_id}", method="GET", status="404") == 3
        assert found.value(total, route="/products/{product_id}", method="HEAD", status="404") == 1
        assert found.value(total, route="/auth", method="POST", status="422") == 1
        assert found.value(total) == 5
        seconds = "shop_http_request_duration_seconds_count"
        assert found.value(seconds, route="/products/{product_id}", method="GET", status_class="4xx") == 3
        assert found.value(seconds) == 5

    async def test_a_client_cannot_make_more_labels(self, fresh: Client):
        for number in range(50):
            await fresh.get(f"/made-up-{number}")
            await fresh.get(f"/products/made-up-{number}")
            await fresh.request(f"MADE{number}", "/products")
        found = await scrape(fresh)
        total = "shop_http_requests_total"
        assert found.value(total, route="other", method="GET", status="404") == 50
        assert found.value(total, route="/products", method="other", status="405") == 50
        assert found.labels(total, "route") == {"other", "/products", "/products/{product_id}"}
        assert found.labels(total, "method") == {"GET", "other"}

    async def test_hits_of_the_cache_count_like_all_others(self, fresh: Client, admin: Client):
        assert (await admin.post("/products", json=a_product(product_id="tea"))).status_code == 201
        answers = [await fresh.get("/products/tea") for _ in range(20)]
        found = await scrape(fresh)
        of_route = {"route": "/products/{product_id}", "method": "GET"}
        assert found.value("shop_http_requests_total", **of_route, status="200") == 20
        assert found.value("shop_http_request_duration_seconds_count", **of_route, status_class="2xx") == 20
        assert found.value("shop_cache_requests_total", result="memory_hit") >= 15
        assert found.value("shop_cache_requests_total") == 20
        assert found.value("shop_http_response_bytes_total") == sum(len(answer.content) for answer in answers)

    async def test_durations_are_cumulative_and_add_up(self, fresh: Client):
        await asyncio.gather(*(fresh.get("/products") for _ in range(30)))
        found = await scrape(fresh)
        buckets = [
            found.value("shop_http_request_duration_seconds_bucket", route="/products", le=bound)
            for bound in [*map(str, BOUNDS), "+Inf"]
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 30
        assert 0 < found.value("shop_http_request_duration_seconds_sum", route="/products") < 30

    async def test_those_being_answered_are_seen_while_they_are(self, fresh: Client):
        body = asyncio.Event()

        async def slowly():
            await body.wait()
            yield b"{}"

        headers = {"Content-Type": "application/json"}
        waiting = [asyncio.create_task(fresh.post("/auth", content=slowly(), headers=headers)) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            while (await scrape(fresh)).value("shop_http_requests_in_flight") != 4:  # with the question itself
                await asyncio.sleep(0.01)
        body.set()
        await asyncio.gather(*waiting)
        assert (await scrape(fresh)).value("shop_http_requests_in_flight") == 1

    async def test_an_error_nobody_expected_is_counted(self, engines: Settings):
        async with running_app(engines) as app, client_of(app) as client:

            @app.get("/broken")
            async def broken() -> None:
                raise RuntimeError

            assert (await client.get("/broken")).status_code == 500
            found = await scrape(client)
        assert found.value("shop_http_unexpected_errors_total") == 1
        assert found.value("shop_http_requests_total", route="/broken", status="500") == 1

    async def test_two_apps_do_not_count_for_each_other(self, fresh: Client, engines: Settings):
        await fresh.get("/products")
        async with running_app(engines) as app, client_of(app) as other:
            assert (await scrape(other)).value("shop_http_requests_total") == 0


class TestWhatItStandsOn:
    @pytest.mark.parametrize("driver", ["motor", "pymongo"])
    async def test_commands_are_timed(self, engines: Settings, driver: str):
        settings = engines.model_copy(update={"mongo_driver": driver, "rate_limits": "on"})
        async with running_app(settings) as app, client_of(app) as client:
            before = await scrape(client)
            await client.get("/users/me", headers={"Authorization": "Bearer nonsense"})
            await client.get("/products?limit=7")
            await client.post("/auth", json={"username": "nobody", "password": PASSWORD})
            found = await scrape(client)
        mongo, redis = "shop_mongodb_command_duration_seconds_count", "shop_redis_command_duration_seconds_count"
        assert found.value(mongo, outcome="ok") > before.value(mongo, outcome="ok")
        assert found.value(mongo, command="find") > before.value(mongo, command="find")
        assert found.value(redis, command="EVALSHA", outcome="ok") > before.value(redis, command="EVALSHA")
        assert found.value("shop_mongodb_connections") >= 1
        assert found.value("shop_mongodb_connection_wait_seconds_count") > 0
        assert found.value("shop_redis_connections") >= 1
        assert found.value("shop_redis_connections_max") == 32
        assert found.value("shop_mongodb_primary_known") == 1
        assert (found.value("shop_ready"), found.value("shop_draining")) == (1, 0)

    async def test_without_the_database_it_still_answers_and_says_so(self, engines: Settings, tmp_path: Path):
        with embedded.mongo.running(tmp_path) as url:
            settings = engines.model_copy(update={"mongo_url": SecretStr(url)})
            lifespan = running_app(settings)
            app = await lifespan.__aenter__()
        async with client_of(app) as client:
            with pymongo.timeout(1):
                await client.get("/products")
            with pymongo.timeout(1):
                found = await scrape(client)
        await lifespan.__aexit__(None, None, None)
        assert found.value("shop_ready") == 0
        assert found.value("shop_engine_up", engine="mongo") == 0
        assert found.value("shop_engine_up", engine="redis") == 1
        assert found.value("shop_mongodb_primary_known") == 0
        assert found.value("shop_http_requests_total", route="/products", status="503") == 1

    async def test_sign_ins_by_outcome(self, engines: Settings, shop):
        settings = engines.model_copy(update={"rate_limits": "on"})
        async with running_app(settings) as app, client_of(app) as client:
            await client.post("/register", json={"username": "grace", "password": PASSWORD})
            for password in (PASSWORD, "wrong " + PASSWORD, PASSWORD):
                await client.post("/auth", json={"username": "grace", "password": password})
            await client.post("/auth", json={"username": "grace"})  # not even an attempt
            statuses = [
                (await client.post("/auth", json={"username": "grace", "password": "wrong " + PASSWORD})).status_code
                for _ in range(12)
            ]
            found = await scrape(client)
        assert statuses.count(429) > 0
        outcomes = {o: found.value("shop_sign_ins_total", outcome=o) for o in ("granted", "invalid_credentials")}
        assert outcomes == {"granted": 2, "invalid_credentials": 1 + statuses.count(401)}
        assert found.value("shop_sign_ins_total", outcome="rate_limited") == statuses.count(429)

    async def test_a_blocked_event_loop_is_seen(self, fresh: Client):
        await asyncio.sleep(0.25)
        time.sleep(0.4)
        await asyncio.sleep(0.15)
        found = await scrape(fresh)
        late = found.value("shop_event_loop_lag_seconds_count") - found.value(
            "shop_event_loop_lag_seconds_bucket", le="0.25"
        )
        assert late >= 1

    async def test_process_and_build(self, fresh: Client):
        found = await scrape(fresh)
        assert found.value("process_resident_memory_bytes") > 10_000_000
        assert found.value("shop_build_info") == 1


class TestWhoMayAsk:
    async def test_anybody_without_a_token_who_reaches_it(self, fresh: Client):
        assert (await fresh.get("/metrics", headers={"Authorization": "Bearer nonsense"})).status_code == 200

    def test_it_is_not_in_the_document_for_clients(self):
        assert "/metrics" not in create_app(Settings()).openapi()["paths"]

    async def test_no_label_holds_what_somebody_has_sent(self, fresh: Client):
        await fresh.post("/auth", json={"username": "canary", "password": "canary canary canary"})
        await fresh.get("/users/canary", headers={"X-Request-ID": "canary", "User-Agent": "canary"})
        await fresh.get("/products?q=canary")
        assert "canary" not in (await fresh.get("/metrics")).text


def expressions(repository_root: Path) -> dict[str, str]:
    """Every expression of the alerts and of the dashboard, by what it is for."""
    deploy = repository_root / "deploy"
    (group,) = yaml.safe_load((deploy / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"]: rule["expr"] for rule in group["rules"]}
    dashboard = json.loads((deploy / "grafana" / "dashboards" / "shop_api.json").read_text())
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    return alerts | panels


async def test_alerts_and_dashboard_ask_for_what_there_is(fresh: Client, repository_root: Path):
    """Names of metrics, and the labels they are asked for by, against a scrape after some traffic."""
    await fresh.get("/products")
    await fresh.post("/auth", json={"username": "nobody", "password": PASSWORD})
    found = await scrape(fresh)
    labels = {name: set[str]() for name in found.names}
    for sample in found.samples:
        labels[sample.name] |= set(sample.labels)
    asked = 0
    for purpose, expression in expressions(repository_root).items():
        for name, selector in re.findall(r'(?<!")\b((?:shop|process)_\w+)(?:\{([^}]*)\})?', expression):
            assert name in found.names, purpose
            wanted = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector)) - {"job", "instance"}
            assert wanted <= labels[name], purpose
            asked += 1
    assert asked > 40
