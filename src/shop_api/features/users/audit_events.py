"""Audit events of accounts: roles, states and credentials. Of an e-mail address they record only whether one is set
and whether it is verified."""

from collections.abc import Mapping
from typing import Any

from shop_api.audit.models import USER, Action, AuditEvent, State
from shop_api.features.users.models import User

AUDIT_ACTIONS = (
    "user_registered",
    "role_changed",
    "user_disabled",
    "user_enabled",
    "user_deleted",
    "email_changed",
    "email_verified",
    "password_changed",
    "password_reset",
)


def registered(user: User) -> AuditEvent:
    return _event("user_registered", user, {}, _standing(user) | _address(user))


def deleted(user: User) -> AuditEvent:
    return _event("user_deleted", user, _standing(user), {})


def new_password(action: Action, user: User) -> AuditEvent:
    return _event(action, user, {}, {})


def changed(user: User, changes: Mapping[str, Any]) -> list[AuditEvent]:
    """Return the audit events for `changes` to `user`. Every change must differ from the stored value."""
    after = user.model_copy(update=changes)
    events = []
    if "role" in changes:
        events.append(_event("role_changed", user, {"role": user.role}, {"role": after.role}))
    if "disabled" in changes:
        action = "user_disabled" if after.disabled else "user_enabled"
        events.append(_event(action, user, {"disabled": user.disabled}, {"disabled": after.disabled}))
    if "email" in changes:
        events.append(_event("email_changed", user, _address(user), _address(after)))
    elif "email_verified" in changes:
        events.append(_event("email_verified", user, _address(user), _address(after)))
    return events


def _standing(user: User) -> State:
    return {"role": user.role, "disabled": user.disabled}


def _address(user: User) -> State:
    return {} if user.email is None else {"email_verified": user.email_verified}


def _event(action: Action, user: User, before: State, after: State) -> AuditEvent:
    return AuditEvent(action, USER, user.id, before, after)
