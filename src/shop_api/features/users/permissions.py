"""What it takes to manage accounts other than one's own."""

from shop_api.kernel.permissions import Permission

USERS_READ = Permission("users:read", "List users and see any of them.")
USERS_WRITE = Permission("users:write", "Register admins, change roles, disable and delete users.")
