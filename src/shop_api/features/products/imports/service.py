"""Imports over HTTP: upload, one at a time, cancellation."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from shop_api.audit.models import AuditContext
from shop_api.audit.repository import AuditLog
from shop_api.features.products.audit_events import imported
from shop_api.features.products.imports.errors import ImportNotFound, ImportRunning
from shop_api.features.products.imports.models import ImportParameters, State, StoredImport
from shop_api.features.products.imports.repository import ImportRepository
from shop_api.features.products.transfer.importing import mapping_of
from shop_api.features.products.transfer.mapping import MappingError
from shop_api.features.products.transfer.rows import Format
from shop_api.kernel.clock import Clock
from shop_api.kernel.errors import FieldError, InvalidRequest
from shop_api.storage.mongo.attempts import Attempt, create_once
from shop_api.storage.mongo.client import Document
from shop_api.storage.mongo.files import FileStore
from shop_api.storage.mongo.transactions import Session, Transactions


class Upload(NamedTuple):
    """A file that was uploaded."""

    file_id: str
    size: int
    digest: bytes
    """SHA-256 of its content."""


class ImportService:
    def __init__(
        self, imports: ImportRepository, files: FileStore, transactions: Transactions, audit: AuditLog, clock: Clock
    ) -> None:
        self._imports = imports
        self._files = files
        self._transactions = transactions
        self._audit = audit
        self._clock = clock
        self.added = asyncio.Event()
        """Set when an import has been added on this instance."""

    def check(self, parameters: ImportParameters, form: Format) -> None:
        """Raise InvalidRequest if the parameters are wrong for any file of this format."""
        if parameters.preset is not None and form != "csv":
            message = "A preset needs a CSV file"
            raise InvalidRequest([FieldError(("query", "preset"), "not_csv", message)])
        try:
            mapping_of(parameters.preset, parameters.columns, parameters.constants, typed=form != "csv")
        except MappingError as error:
            raise InvalidRequest([FieldError(("query", "map"), "invalid_mapping", str(error))]) from None

    async def check_none_is_running(self) -> None:
        if active := await self._imports.active():
            raise ImportRunning(active.import_id)

    async def upload(self, content: AsyncIterator[bytes]) -> Upload:
        """Store a file. Raises InvalidRequest if it is empty."""
        hashed = hashlib.sha256()

        async def parts() -> AsyncIterator[bytes]:
            async for part in content:
                hashed.update(part)
                yield part

        file_id, size = await self._files.write(parts())
        if size == 0:
            await self._files.remove(file_id)
            raise InvalidRequest([FieldError(("body",), "empty_file", "Send the file as the body")])
        return Upload(file_id, size, hashed.digest())

    async def discard(self, upload: Upload) -> None:
        await self._files.remove(upload.file_id)

    async def add(
        self, upload: Upload, form: Format, parameters: ImportParameters, attempt: Attempt, context: AuditContext
    ) -> StoredImport:
        """Queue the import of an uploaded file. Raises ImportRunning if another one is not over."""
        job = StoredImport(
            import_id=attempt.new_id,
            **parameters.model_dump(),
            state="queued",
            format=form,
            file_id=upload.file_id,
            size_bytes=upload.size,
            position_bytes=0,
            created=0,
            updated=0,
            unchanged=0,
            rejected=0,
            without_id=0,
            warnings=[],
            rejected_rows=[],
            error=None,
            created_at=self._clock(),
            started_at=None,
            finished_at=None,
            actor_id=context.actor_id,
            address=context.address,
            request_id=context.request_id,
        )

        async def create(session: Session) -> Document:
            await self._imports.add(job, session)
            return job.model_dump()

        try:
            created = await create_once(attempt, self._transactions, create, ImportRunning)
        except ImportRunning:
            active = await self._imports.active()
            raise ImportRunning(active.import_id if active else None) from None
        self.added.set()
        return StoredImport.model_validate(created)

    async def get(self, import_id: str) -> StoredImport:
        """Return an import. Raises ImportNotFound if there is none."""
        job = await self._imports.get(import_id)
        if job is None:
            raise ImportNotFound
        return job

    async def cancel(self, import_id: str) -> StoredImport:
        """Cancel an import, unless it is over. What it has stored stays."""
        job = await self.get(import_id)
        if not job.is_over:
            await self.end(job, "cancelled")
        return await self.get(import_id)

    async def end(self, job: StoredImport, state: State, error: str | None = None) -> None:
        """Mark an import as over and write its audit entry, unless it is over already."""

        async def work(session: Session) -> None:
            ended = await self._imports.end(job, state, self._clock(), session, error)
            if ended and not job.dry_run:
                current = await self._imports.get(job.import_id, session) or job
                event = imported(job.import_id, job.name or "", current)
                await self._audit.record([event], AuditContext(job.actor_id, job.address, job.request_id), session)

        await self._transactions.run(work)
