"""Traces, as a collector gets them: a real one that speaks OTLP over HTTP."""

import asyncio
import gzip
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from conftest import Client, client_of, running_app
from shop_api.settings import Settings
from support.factories import PASSWORD, a_product
from support.processes import environment, started

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


def within(digit: str, *, sampled: bool = True) -> dict[str, str]:
    """The header of a caller whose trace's id is 32 times `digit`."""
    return {"traceparent": f"00-{digit * 32}-{CALLER}-{sampled:02d}"}


class Collector:
    """What has arrived."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: set[str] = set()
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {a.key: a.value.string_value for a in part.resource.attributes}
            self.spans += [span for scope in part.scope_spans for span in scope.spans]

    def of(self, trace: str) -> dict[str, Span]:
        """The spans of one trace by name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace}

    def parents(self, span: Span) -> list[str]:
        """The names of the spans around `span`, from inside out."""
        by_id = {other.span_id: other for other in self.spans}
        names = []
        while span.parent_span_id in by_id:
            span = by_id[span.parent_span_id]
            names.append(span.name)
        return names


def attributes(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.take(self.path, body)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(params=["motor", "pymongo"])
async def asked(request, engines: Settings, collector: Collector, shop) -> Collector:
    """A collector with all that was traced of a few requests, on an app that has come to its end."""
    settings = engines.model_copy(
        update={"otlp_endpoint": collector.url, "mongo_driver": request.param, "rate_limits": "on"}
    )
    async with running_app(settings) as app, client_of(app) as client:
        await client.post("/auth", json={"username": "canary", "password": PASSWORD}, headers=SAMPLED)
        await client.get("/products/canary", headers=within("1"))
        await client.get("/products/canary", headers=within("2") | {"X-Request-ID": "r"})
        await client.get("/products?q=canary", headers=within("3", sampled=False))
        await client.get("/users/canary", headers=within("4"))
        await client.get("/health/ready", headers=within("5"))
        await client.get("/metrics")
        await asyncio.sleep(0.3)  # the follower of changes and the checks of connections go on meanwhile
    return collector


class TestTraces:
    async def test_a_request_is_in_the_trace_of_its_caller(self, asked: Collector):
        spans = asked.of(TRACE)
        server = spans["POST /auth"]
        assert server.kind == Span.SPAN_KIND_SERVER
        assert server.parent_span_id.hex() == CALLER
        assert attributes(server)["http.route"] == "/auth"
        assert attributes(server)["http.response.status_code"] == 401

    async def test_what_it_asked_of_the_engines_is_below_the_code_that_asked(self, asked: Collector):
        spans = asked.of(TRACE)
        for name, system in (("find users", "mongodb"), ("EVALSHA", "redis")):
            span = spans[name]
            assert span.kind == Span.SPAN_KIND_CLIENT
            assert attributes(span)["db.system.name"] == system
            assert asked.parents(span) == ["fastapi.endpoint", "POST /auth"]
            server = spans["POST /auth"]
            assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= server.end_time_unix_nano
        assert attributes(spans["find users"])["db.collection.name"] == "users"
        assert str(attributes(spans["fastapi.endpoint"])["code.function.name"]).endswith("auth.router.sign_in")

    async def test_a_miss_of_the_cache_shows_the_query_and_a_hit_does_not(self, asked: Collector):
        miss, hit = asked.of("1" * 32), asked.of("2" * 32)
        assert {"GET /products/{product_id}", "find products"} <= set(miss)
        assert set(hit) == {"GET /products/{product_id}"}
        assert attributes(miss["GET /products/{product_id}"])["shop.cache"] == "miss"
        seen = attributes(hit["GET /products/{product_id}"])
        assert (seen["shop.cache"], seen["shop.request_id"]) == ("hit", "r")

    async def test_the_caller_decides_and_machines_are_left_out(self, asked: Collector):
        assert {span.trace_id.hex() for span in asked.spans} == {TRACE, "1" * 32, "2" * 32, "4" * 32}

    async def test_it_says_who_it_is_and_goes_where_it_should(self, asked: Collector):
        assert asked.resource["service.name"] == "shop_api"
        assert asked.resource["service.version"]
        assert asked.paths == {"/v1/traces"}

    async def test_no_span_holds_what_somebody_has_sent(self, asked: Collector):
        assert "GET /users/{username}" in asked.of("4" * 32)
        assert not [span for span in asked.spans if "canary" in str(span)]


class TestFailures:
    async def test_an_error_of_an_engine_is_on_its_span(self, engines: Settings, collector: Collector):
        settings = engines.model_copy(update={"otlp_endpoint": collector.url})
        async with running_app(settings) as app, client_of(app) as client:

            @app.get("/broken")
            async def broken() -> None:
                await app.state.services.database.command({"noSuchCommand": 1})

            assert (await client.get("/broken", headers=SAMPLED)).status_code == 500
        spans = collector.of(TRACE)
        assert attributes(spans["noSuchCommand"])["error.type"] == "CommandNotFound"
        assert spans["GET /broken"].status.code == Status.STATUS_CODE_ERROR

    async def test_a_collector_that_is_gone_costs_no_request_and_no_long_end(self, engines: Settings):
        settings = engines.model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})
        loop = asyncio.get_running_loop()
        async with running_app(settings) as app, client_of(app) as client:
            assert (await client.get("/products")).status_code == 200
            before = loop.time()
        assert loop.time() - before < 6

    async def test_none_or_some_are_traced_as_it_is_set(self, engines: Settings, collector: Collector):
        settings = engines.model_copy(update={"otlp_endpoint": collector.url, "trace_ratio": 0.0})
        async with running_app(settings) as app, client_of(app) as client:
            await client.get("/products")
            await client.get("/products?limit=3", headers=SAMPLED)
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def python(code: str, path: list[Path], **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` with nothing to import but what is on `path`, and no other settings than `env`."""
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(
        command, env={"PYTHONPATH": ":".join(map(str, path)), **env}, capture_output=True, text=True, timeout=60
    )


class TestOff:
    def test_nothing_of_it_is_imported(self, repository_root: Path):
        code = (
            "import sys; from shop_api.app import create_app; from shop_api.settings import Settings;"
            "create_app(Settings()); ours = 'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf',"
            " 'shop_api.observability.spans'; print([name for name in ours if name in sys.modules])"
        )
        done = python(code, [repository_root / "src", Path(sysconfig.get_path("purelib"))])
        assert done.stdout == "[]\n", done.stderr

    def test_to_trace_without_the_packages_is_refused_in_one_line(self, repository_root: Path, tmp_path: Path):
        for installed in Path(sysconfig.get_path("purelib")).iterdir():
            if not installed.name.startswith("opentelemetry_exporter"):
                (tmp_path / installed.name).symlink_to(installed)
        code = "from shop_api.cli.main import app; app(['serve'])"
        done = python(code, [repository_root / "src", tmp_path], SHOP_OTLP_ENDPOINT="http://collector:4318")
        assert done.returncode == 1
        assert done.stderr == (
            "shop-api: SHOP_OTLP_ENDPOINT: needs packages that are not installed; run: pip install 'shop-api[otel]'"
            " (for example: http://collector:4318)\n"
        )


async def test_a_line_of_the_log_names_its_trace(
    engines: Settings, collector: Collector, admin: Client, tmp_path: Path
):
    env = environment(engines, SHOP_OTLP_ENDPOINT=collector.url, SHOP_LOG_LEVEL="info")
    await admin.post("/products", json=a_product(product_id="tea"))
    with started(env, tmp_path / "log") as (_, url):
        async with Client(base_url=url) as client:
            await client.get("/products/tea", headers=SAMPLED)
    assert f'"trace_id": "{TRACE}"' in (tmp_path / "log").read_text()
    assert {"GET /products/{product_id}", "find products"} <= set(collector.of(TRACE))
