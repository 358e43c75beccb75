"""The audit entry of an import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uuid_utils import uuid7

from shop_api.audit.models import AuditContext
from shop_api.audit.repository import AuditLog
from shop_api.features.products.audit_events import imported
from shop_api.features.products.transfer.results import ImportResult


@asynccontextmanager
async def recorded(result: ImportResult, file: str, audit: AuditLog, context: AuditContext) -> AsyncIterator[None]:
    """Write one audit entry with the counts of `result` on exit, also if the block fails or is interrupted.

    An import is not one transaction, so a killed process leaves its writes without an entry.
    """
    try:
        yield
    finally:
        await audit.record([imported(str(uuid7()), file, result)], context, None)
