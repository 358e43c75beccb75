"""Permissions of operations."""

from shop_api.kernel.permissions import Permission

AUDIT_READ = Permission("audit:read", "Read the audit log.")
