"""Run and administer the shop_api service."""

import asyncio
import errno
import gc
import json
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from shop_api.cli.admin import add_admin, admin
from shop_api.cli.backup.commands import backup, restore
from shop_api.cli.check import check
from shop_api.cli.demo.commands import demo
from shop_api.cli.engine_watch import EngineWatch
from shop_api.cli.keys import keys
from shop_api.cli.migrate import migrate
from shop_api.cli.products import products
from shop_api.cli.secrets import make_secrets
from shop_api.cli.stop import Stop
from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.embedded import EngineProcesses
from shop_api.kernel import messages
from shop_api.observability.logging import configure_logging
from shop_api.settings import Settings, describe

# Attempts to reach MongoDB, each of up to 5 s.
_ATTEMPTS = 5

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(admin, name="admin")
app.add_typer(products, name="products")
app.add_typer(keys, name="keys")
app.command()(backup)
app.command()(restore)
app.command()(demo)
app.command()(check)
app.command("secrets")(make_secrets)
app.command()(migrate)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Instead of SHOP_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of SHOP_PORT.")] = None,
) -> None:
    """Serve the API. Starts embedded engines if SHOP_MONGO_URL or SHOP_REDIS_URL is not set."""
    # Objects created at start live on, so collecting garbage would only cost a tenth of the start-up time.
    gc.disable()
    with Stop() as stop:
        settings = settings_or_exit(host=host, port=port)
        _check_first_admin(settings)
        processes = EngineProcesses()
        with (
            _listening(settings.host, settings.port) as listener,
            engines(settings, join=False, check=stop.check, processes=processes) as complete,
        ):
            configure_logging(complete)
            stop.run(_await_database(complete, admin_required=settings.mongo_url is not None))
            if settings.mongo_url is None:
                _make_first_admin(complete, stop)
            _serve(complete, listener, stop, EngineWatch(settings.data_dir.absolute(), processes))


def _check_first_admin(settings: Settings) -> None:
    """Reject an invalid username or password of the first admin before anything is started."""
    from shop_api.features.users.models import Registration
    from shop_api.security.passwords import weakness

    name, password = settings.admin_username, settings.admin_password
    if not name or not password:
        return
    try:
        Registration(username=name, password=password)
    except ValidationError as error:
        fail("\n".join(describe(f"admin_{e['loc'][0]}", messages.in_words(e)) for e in error.errors()))
    if reason := weakness(password.get_secret_value(), name):
        fail(describe("admin_password", reason))


async def _await_database(settings: Settings, *, admin_required: bool) -> None:
    """Wait half a minute for MongoDB, since services may be started in any order. Then check the schema and the
    admins, so that a problem is reported as a message."""
    from shop_api.cli.first_admin import check_admins
    from shop_api.features import FEATURES
    from shop_api.features.feature import schema_of
    from shop_api.storage.mongo import client as mongo
    from shop_api.storage.mongo.instances import new_instance_id
    from shop_api.storage.mongo.migrations import open_schema

    reason = ""
    for _ in range(_ATTEMPTS):
        try:
            async with mongo.open_database(
                settings.required()[0], settings.mongo_db, settings.mongo_driver
            ) as database:
                auto = settings.auto_migrate == "on"
                await open_schema(database, schema_of(FEATURES), new_instance_id(), auto=auto)
                await check_admins(database, settings, required=admin_required)
            return
        except mongo.PyMongoError as error:
            reason = mongo.brief_message(error)
            say(f"waiting for MongoDB: {reason}")
            await asyncio.sleep(1)
    fail(f"SHOP_MONGO_URL: MongoDB does not answer: {reason}; shop-api doctor may say more")


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family, backlog=2048) as listener:
            yield listener
    except OSError as error:
        name = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        problem = f"cannot listen on {host}:{port}: {error.strerror}; choose another, also with --{name}"
        fail(describe(name, problem))


def _make_first_admin(settings: Settings, stop: Stop) -> None:
    """Create an admin in a new data folder, unless SHOP_ADMIN_USERNAME is set. The password is shown only now."""
    done = settings.data_dir / "first-admin-made"
    if done.exists() or settings.admin_username:
        return
    password = secrets.token_urlsafe(12)
    if stop.run(add_admin(settings, "admin", password)):
        say(f"made the first admin: username admin, password {password} (shown only this once)")
    done.touch()


def _serve(settings: Settings, listener: socket.socket, stop: Stop, watch: EngineWatch) -> None:
    import uvicorn

    from shop_api.app import create_app
    from shop_api.http.protocol import HttpProtocol

    app = create_app(settings)

    class Server(uvicorn.Server):
        problem: str | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # Exclude these objects from later collections, which would scan them and delay all requests.
            gc.collect()
            gc.freeze()
            gc.enable()
            if stop.requested:  # a signal before the server installed its handlers
                self.should_exit = True
            if self.should_exit:
                return
            host, port = listener.getsockname()[:2]
            shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host  # noqa: S104  # nosec B104
            say(f"ready on http://{shown}:{port}")

        async def on_tick(self, counter: int) -> bool:
            if not self.should_exit:
                self.problem = watch.problem(app.state.services.heartbeat.storage_failure)
            return bool(self.problem) or await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.draining.begun = True
            logging.getLogger("uvicorn.error").addFilter(_is_not_a_cancelled_request)
            # Without its database, an instance has nothing to answer.
            end = time.monotonic() + (0 if self.problem else settings.drain_seconds)
            while time.monotonic() < end and not self.force_exit:  # noqa: ASYNC110  # set by a second Ctrl-C
                await asyncio.sleep(0.1)
            await super().shutdown(sockets)
            if not self.lifespan.shutdown_event.is_set():  # uvicorn skips it after a second Ctrl-C
                for task in self.server_state.tasks:
                    task.cancel()
                await self.lifespan.shutdown()

    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # done by the app, with its own setting
        server_header=False,
        timeout_keep_alive=75,  # longer than nginx keeps an idle connection
        timeout_graceful_shutdown=10,
    )
    stop.check()
    server = Server(config)
    server.run(sockets=[listener])
    if server.problem:
        fail(server.problem)


def _is_not_a_cancelled_request(record: logging.LogRecord) -> bool:
    """Return False for records of requests cancelled by the shutdown."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


@app.command()
def openapi(
    output: Annotated[Path | None, typer.Option(help="Output file; standard output if absent.")] = None,
) -> None:
    """Write the OpenAPI document."""
    from shop_api.app import create_app

    text = json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")


@app.command()
def doctor() -> None:
    """Show the configuration, test the connections and suggest a remedy for each problem. Read-only."""
    from shop_api.cli import doctor

    findings = asyncio.run(doctor.examine())
    doctor.show(findings)
    if any(finding.verdict == "broken" for finding in findings):
        raise typer.Exit(1)
