"""Runs imports in the background: one instance at a time, and another one goes on if it dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

import structlog

from shop_api.features.products.imports.models import RejectedRow, StoredImport
from shop_api.features.products.imports.repository import ImportRepository
from shop_api.features.products.imports.service import ImportService
from shop_api.features.products.repository import ProductRepository
from shop_api.features.products.transfer.importing import Importer, plan
from shop_api.features.products.transfer.mapping import MappingError
from shop_api.features.products.transfer.results import ImportResult, Rejected, RowWarning
from shop_api.features.products.transfer.row import UnreadableFile
from shop_api.features.products.transfer.rows import open_rows
from shop_api.features.products.transfer.targets import DryRunRepository
from shop_api.kernel import tasks
from shop_api.kernel.clock import Clock
from shop_api.storage.mongo.client import Database, PyMongoError
from shop_api.storage.mongo.files import FileStore
from shop_api.storage.mongo.leases import LEASE_SECONDS, Lease, LeaseLost, kept, try_acquire

LEASE = "imports"
_LOOK_AGAIN_SECONDS = LEASE_SECONDS / 2
_CLEAN_SECONDS = 3600
_FILES_KEPT = timedelta(days=1)

log = structlog.get_logger()


class ImportRunner:
    """Runs the imports that this or another instance has queued."""

    def __init__(
        self,
        service: ImportService,
        imports: ImportRepository,
        files: FileStore,
        products: ProductRepository,
        database: Database,
        clock: Clock,
        holder: str,
    ) -> None:
        self._service = service
        self._imports = imports
        self._files = files
        self._products = products
        self._database = database
        self._clock = clock
        self._holder = holder

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run imports during the block. An import that is cut off goes on at the next start, or elsewhere."""
        working = [asyncio.create_task(self._work()), asyncio.create_task(self._clean())]
        try:
            yield
        finally:
            await tasks.end(working)

    async def _work(self) -> None:
        while True:
            self._service.added.clear()
            try:
                await self._run_active()
            except PyMongoError as error:
                log.warning("an import was interrupted", reason=f"{type(error).__name__}: {error}"[:300])
            except LeaseLost:
                log.warning("an import was interrupted", reason="another instance has taken it over")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._service.added.wait()

    async def _run_active(self) -> None:
        while job := await self._imports.active():
            lease = await try_acquire(self._database, LEASE, self._holder)
            if lease is None:  # another instance runs it
                return
            async with kept(lease):
                await self._run(job, lease)

    async def _run(self, queued: StoredImport, lease: Lease) -> None:
        job = await self._imports.start(queued.import_id, lease.token, self._clock())
        if job is None:
            return
        log.info("import", import_id=job.import_id, step="starts" if queued.state == "queued" else "goes on")
        try:
            with NamedTemporaryFile(prefix="shop-api-import-") as file:
                async for part in self._files.read(job.file_id):
                    file.write(part)
                file.flush()
                is_complete = await self._import(job, Path(file.name), lease, goes_on=queued.state == "running")
        except (UnreadableFile, MappingError) as error:
            await self._service.end(job, "failed", str(error).replace(file.name, "the file"))
        except (PyMongoError, LeaseLost):
            raise
        except Exception as error:  # a mistake of ours, which would occur again
            log.exception("an import failed", import_id=job.import_id)
            await self._service.end(job, "failed", f"The import failed: {type(error).__name__}")
        else:
            if is_complete:
                await self._service.end(job, "completed")

    async def _import(self, job: StoredImport, file: Path, lease: Lease, *, goes_on: bool) -> bool:
        """Import the file from the last recorded batch on. Return False if the import is over already."""
        rejected: list[RejectedRow] = []

        def reject(row: Rejected) -> None:
            rejected.append(RejectedRow(line=row.number, product_id=row.product_id[:255], reason=row.reason))

        with open_rows(file, job.format) as source:
            rows, mapping = plan(source, job.preset, job.columns, job.constants, raw=job.raw)
            target = DryRunRepository(self._products) if job.dry_run else self._products
            began_at = job.started_at if goes_on else None
            importer = Importer(target, mapping, self._clock, reject, resumed=_result(job), began_at=began_at)
            await lease.check()
            async for result in importer.run(rows):
                await lease.check()
                if not await self._imports.record(job.import_id, lease.token, result, source.position(), rejected):
                    return False
                rejected.clear()
        return True

    async def _clean(self) -> None:
        """Remove old files now and then."""
        while True:
            try:
                await self.remove_old_files()
            except PyMongoError as error:
                log.warning("old files could not be removed", reason=f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(_CLEAN_SECONDS)

    async def remove_old_files(self) -> None:
        """Remove files a day after their upload, but not that of an import that is not over."""
        active = await self._imports.active()
        await self._files.remove_older(self._clock() - _FILES_KEPT, active.file_id if active else None)


def _result(job: StoredImport) -> ImportResult:
    warnings = {one.warning: RowWarning(one.count, one.line, one.detail) for one in job.warnings}
    return ImportResult(job.created, job.updated, job.unchanged, job.rejected, job.without_id, warnings)
