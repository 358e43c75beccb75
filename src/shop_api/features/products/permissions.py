"""Permissions of the catalogue."""

from shop_api.kernel.permissions import Permission

PRODUCTS_WRITE = Permission("products:write", "Add, change and delete products.")
PRODUCTS_READ_UNPUBLISHED = Permission("products:read_unpublished", "See products that are not active.")
