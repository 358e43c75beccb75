"""Export of all data stored about a user (GDPR art. 15 and 20)."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, create_model

from shop_api.audit.repository import AuditLog
from shop_api.features.auth.models import Export, ExportedEntry, SessionOut
from shop_api.features.auth.service import AuthService
from shop_api.features.users.models import User, UserOut
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec, owned_by

_PIECE = 64 * 1024


def export_models(specs: Iterable[CollectionSpec]) -> list[type[BaseModel]]:
    """Return the extended export model, or an empty list if no collection adds to the export."""
    exported = _exported(specs)
    return [_model(exported)] if exported else []


def _exported(specs: Iterable[CollectionSpec]) -> list[CollectionSpec]:
    return [spec for spec in specs if spec.owner is not None and spec.exported is not None]


def _model(specs: Sequence[CollectionSpec]) -> type[Export]:
    members: dict[str, Any] = {spec.name: (list[spec.exported], ...) for spec in specs}  # type: ignore[name-defined]
    model: type[Export] = create_model("Export", __base__=Export, **members)
    return model


class ExportService:
    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        auth: AuthService,
        specs: Iterable[CollectionSpec],
        clock: Clock,
    ) -> None:
        self._database = database
        self._audit = audit
        self._auth = auth
        self._specs = _exported(specs)
        self._clock = clock

    async def stream(self, user: User, session_id: str) -> AsyncIterator[str]:
        """Yield the JSON text of an `Export`: all data about `user`, except hashes of secrets, in pieces of about
        64 KiB. `session_id` is the current session.

        Memory stays bounded however much there is. After an error the text is incomplete, and so no JSON.
        """
        sessions = [SessionOut.of(session, session_id) for session in await self._auth.sessions(user)]
        head = Export(exported_at=self._clock(), user=UserOut.of(user), sessions=sessions, audit=[])
        async for piece in _joined(self._parts(head, user.id)):
            yield piece

    async def _parts(self, head: Export, user_id: str) -> AsyncIterator[str]:
        yield head.model_dump_json(exclude={"audit"}).removesuffix("}")
        entries = (ExportedEntry.of(entry, user_id) async for entry in self._audit.about(user_id))
        async for part in _member("audit", entries):
            yield part
        for spec in self._specs:
            async for part in _member(spec.name, self._documents(spec, user_id)):
                yield part
        yield "}"

    async def _documents(self, spec: CollectionSpec, user_id: str) -> AsyncIterator[BaseModel]:
        assert spec.exported is not None
        async for document in owned_by(self._database, spec, user_id):
            yield spec.exported.model_validate(document)


async def _member(name: str, items: AsyncIterator[BaseModel]) -> AsyncIterator[str]:
    """Yield a list as a further member of a JSON object, item by item."""
    yield f',"{name}":['
    separator = ""
    async for item in items:
        yield separator + item.model_dump_json()
        separator = ","
    yield "]"


async def _joined(parts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Join `parts` to pieces of at least _PIECE characters, because each piece costs a write to the connection."""
    waiting: list[str] = []
    size = 0
    async for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _PIECE:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)
