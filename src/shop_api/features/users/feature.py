"""Accounts."""

from shop_api.audit.models import USER
from shop_api.features.feature import Feature, Tag
from shop_api.features.users.audit_events import AUDIT_ACTIONS
from shop_api.features.users.invariants import USERNAMES_ARE_FOLDED
from shop_api.features.users.permissions import USERS_READ, USERS_WRITE
from shop_api.features.users.repository import GUARDS, USERS
from shop_api.features.users.router import router

feature = Feature(
    name="users",
    routers=(router,),
    tags=(Tag("Users", "Manage user accounts: admins all of them, users their own."),),
    collections=(USERS, GUARDS),
    permissions=(USERS_READ, USERS_WRITE),
    audit_actions=AUDIT_ACTIONS,
    audit_subjects=(USER,),
    invariants=(USERNAMES_ARE_FOLDED,),
)
