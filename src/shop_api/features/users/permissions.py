"""Permissions to manage other users' accounts."""

from shop_api.kernel.permissions import Permission

USERS_READ = Permission("users:read", "List users and see any of them.")
USERS_WRITE = Permission("users:write", "Register admins, change roles, disable and delete users.")
