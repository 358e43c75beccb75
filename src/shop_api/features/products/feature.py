"""The product catalogue."""

from shop_api.features.feature import Feature, Tag
from shop_api.features.products.audit_events import AUDIT_ACTIONS, AUDIT_SUBJECTS
from shop_api.features.products.cache_tags import product_tags
from shop_api.features.products.imports.repository import COLLECTIONS as IMPORT_COLLECTIONS
from shop_api.features.products.imports.router import router as imports_router
from shop_api.features.products.invariants import PRODUCTS_ARE_INDEXED
from shop_api.features.products.migrations import MIGRATIONS
from shop_api.features.products.permissions import PRODUCTS_READ_UNPUBLISHED, PRODUCTS_WRITE
from shop_api.features.products.repository import PRODUCTS
from shop_api.features.products.router import router

feature = Feature(
    name="products",
    routers=(imports_router, router),
    routed_first=True,
    tags=(
        Tag("Products", "The product catalogue. Anyone can read it; admins can change it."),
        Tag("Imports", "Files of products, imported in the background."),
    ),
    collections=(PRODUCTS, *IMPORT_COLLECTIONS),
    cache_tags={PRODUCTS.name: product_tags},
    permissions=(PRODUCTS_WRITE, PRODUCTS_READ_UNPUBLISHED),
    audit_actions=AUDIT_ACTIONS,
    audit_subjects=AUDIT_SUBJECTS,
    invariants=(PRODUCTS_ARE_INDEXED,),
    migrations=MIGRATIONS,
)
