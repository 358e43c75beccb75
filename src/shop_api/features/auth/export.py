"""Export of all data stored about a user (GDPR art. 15 and 20)."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, create_model

from shop_api.audit.repository import AuditLog
from shop_api.features.auth.models import Export, ExportedEntry, SessionOut
from shop_api.features.auth.service import AuthService
from shop_api.features.users.models import User, UserOut
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec, owned_by


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
        self._model = _model(self._specs)
        self._clock = clock

    async def get(self, user: User, session_id: str) -> Export:
        """Return all data about `user`, except hashes of secrets. `session_id` is the current session."""
        return self._model(
            exported_at=self._clock(),
            user=UserOut.of(user),
            sessions=[SessionOut.of(session, session_id) for session in await self._auth.sessions(user)],
            audit=[ExportedEntry.of(entry, user.id) for entry in await self._audit.about(user.id)],
            **{spec.name: await self._documents(spec, user.id) for spec in self._specs},
        )

    async def _documents(self, spec: CollectionSpec, user_id: str) -> list[Any]:
        assert spec.exported is not None
        return [spec.exported.model_validate(document) async for document in owned_by(self._database, spec, user_id)]
