"""The entry in the audit log that each import leaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uuid_utils import uuid7

from shop_api.audit.models import AuditContext, AuditEvent
from shop_api.audit.repository import AuditLog
from shop_api.features.products.audit_events import IMPORT
from shop_api.features.products.transfer.importing import ImportResult


@asynccontextmanager
async def recorded(result: ImportResult, file: str, audit: AuditLog, context: AuditContext) -> AsyncIterator[None]:
    """Leave one entry with the counts of `result` at the end of the block, also when it fails or is interrupted.

    An import is many writes and no transaction, so one that is killed leaves none.
    """
    try:
        yield
    finally:
        counts = {name: getattr(result, name) for name in ("created", "updated", "unchanged", "rejected")}
        event = AuditEvent("products_imported", IMPORT, str(uuid7()), {}, {"file": file, **counts})
        await audit.record([event], context, None)
