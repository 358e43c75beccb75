"""Health, metrics and the audit log, for operators. Also declares the collections that belong to no feature."""

from shop_api.audit.repository import AUDIT
from shop_api.features.feature import Feature, Tag
from shop_api.features.operations.audit_router import router as audit_router
from shop_api.features.operations.permissions import AUDIT_READ
from shop_api.features.operations.router import router
from shop_api.http.idempotency.repository import IDEMPOTENCY_KEYS

feature = Feature(
    name="operations",
    routers=(audit_router, router),
    tags=(Tag("Operations", "Health checks for operators and orchestrators."),),
    collections=(AUDIT, IDEMPOTENCY_KEYS),
    permissions=(AUDIT_READ,),
)
