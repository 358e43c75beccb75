"""`shop-api backup` and `shop-api restore`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from shop_api import __version__
from shop_api.cli.backup import archive, repository
from shop_api.cli.terminal import engines, fail, say, settings_or_exit
from shop_api.settings import Settings
from shop_api.storage.mongo.client import Document, PyMongoError, brief_message, snapshot_is_gone

_STILL_SERVING = "instances serve from the database {}: stop {} (one that was killed counts for half a minute)"
_CHECKSUM_ONLY = "--unauthenticated verifies the checksum only, which shows damage but no change on purpose"
_MONGODUMP = "use mongodump --oplog, see docs/operations.md"
_TOO_SLOW = f"it took longer than MongoDB keeps the state of one moment; {_MONGODUMP}"


def backup(
    file: Annotated[Path, typer.Argument(help="Written atomically, readable only by its owner.")],
) -> None:
    """Write a consistent snapshot of the database to FILE. Can run while the service is running.

    FILE contains password hashes and personal data, but no keys or secrets of the service: back those up separately.
    With SHOP_BACKUP_KEY, a restore notices any change to it.
    """
    with engines(settings_or_exit(), join=True) as settings, _failures_in_words(file):
        count = asyncio.run(_backup(settings, file))
    say(f"wrote {count:,} documents to {file}")
    if settings.backup_key is None:
        say(f"{file} is not authenticated: SHOP_BACKUP_KEY is not set, so a restore cannot notice changes to it")


def restore(
    file: Annotated[Path, typer.Argument(help="A file written by `shop-api backup`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the contents of a database that is not empty.")
    ] = False,
    unauthenticated: Annotated[
        bool, typer.Option("--unauthenticated", help="Verify the checksum only, not that SHOP_BACKUP_KEY was used.")
    ] = False,
) -> None:
    """Restore FILE into an empty database and migrate it. Refused while an instance serves from the database.

    The whole file is verified with SHOP_BACKUP_KEY before anything is changed.
    """
    configured = settings_or_exit()
    key = None if unauthenticated else _required_key(configured)
    with _failures_in_words(file):
        contents = archive.examined(file, key)
        stored = repository.schema_in(archive.documents(file, key))
        if key is None:
            say(f"{file} is not authenticated: whoever could write to it may have changed it")
        say(f"{file}: taken {contents.about['taken_at']} by shop_api {contents.about['version']}")
        with engines(configured, join=True) as settings:
            restored = asyncio.run(_restore(settings, partial(archive.documents, file, key), stored, force))
    say(f"restored {restored.documents:,} documents")
    if restored.left_out:
        counts = [f"{name} ({count:,})" for name, count in sorted(restored.left_out.items())]
        say(f"left out: {', '.join(counts)}")


def _key(settings: Settings) -> bytes | None:
    return settings.backup_key.get_secret_value().encode() if settings.backup_key else None


def _required_key(settings: Settings) -> bytes:
    if (key := _key(settings)) is None:
        fail(f"SHOP_BACKUP_KEY: is missing: set the key that the archive was made with; {_CHECKSUM_ONLY}", 2)
    return key


async def _backup(settings: Settings, file: Path) -> int:
    from shop_api.kernel.clock import utc_now
    from shop_api.storage.mongo import client as mongo

    about = {"version": __version__, "database": settings.mongo_db, "taken_at": _moment(utc_now())}
    async with mongo.open_database(settings.required()[0], settings.mongo_db, settings.mongo_driver) as database:
        with archive.written(file, about, _key(settings)) as out:
            async for name, document in repository.documents(database):
                out.add(name, document)
            return out.documents


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


async def _restore(
    settings: Settings, lines: repository.Lines, stored: Document | None, force: bool
) -> repository.Restored:
    from shop_api.cli.backup import restoring
    from shop_api.features import FEATURES
    from shop_api.features.feature import schema_of
    from shop_api.storage.mongo import client as mongo
    from shop_api.storage.mongo import instances, schema

    if stored:
        schema.RecordedSchema.of(stored).check_usable(schema_of(FEATURES), "in the backup")
    async with mongo.open_database(settings.required()[0], settings.mongo_db, settings.mongo_driver) as database:
        if live := await instances.live_instances(database):
            fail(_STILL_SERVING.format(settings.mongo_db, ", ".join(live)), 2)
        if not force and not await schema.is_empty(database):
            fail(f"there is something in the database {settings.mongo_db}; --force removes it first", 2)
        return await restoring.restore(database, lines, FEATURES, stored, say)


@contextmanager
def _failures_in_words(file: Path) -> Iterator[None]:
    try:
        yield
    except archive.Unauthenticated as error:
        fail(f"{error}; {_CHECKSUM_ONLY}", 2)
    except archive.BadArchive as error:
        fail(str(error), 2)
    except repository.RestoreFailed as error:
        fail(f"{error}; no instance uses the database before a restore has ended: repeat it with --force")
    except archive.DocumentTooLong as error:
        fail(f"{error}, which a restore would not read; {_MONGODUMP}")
    except PyMongoError as error:
        fail(f"MongoDB failed: {_TOO_SLOW if snapshot_is_gone(error) else brief_message(error)}")
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror}", 2)
