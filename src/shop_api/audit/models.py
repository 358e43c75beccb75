"""What the audit log tells: who did what to whose account, when and from where."""

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from shop_api.kernel.pagination import CursorText, Limit, Page
from shop_api.kernel.schema import Schema, Timestamp, late_enum

Action = str
"""What was done: one of the `audit_actions` that features declare."""
AUDIT_ACTIONS = "audit_actions"
ActionOut = Annotated[Action, Field(json_schema_extra=late_enum(AUDIT_ACTIONS))]
State = dict[str, str | bool]
"""Fields and their values; never a secret, a name or an address, so that nothing here has to be erased later."""


class AuditContext(NamedTuple):
    """Who asks for a change, and from where."""

    actor_id: str
    address: str
    request_id: str


class AuditEntry(Schema):
    """One change to an account, as stored. People are named by their ids alone."""

    id: str
    at: Timestamp
    action: Action
    subject_id: str
    actor_id: str
    address: str
    request_id: str
    before: State
    after: State


class Person(Schema):
    """Somebody the log tells about."""

    id: str
    username: str | None
    """As it is now; null once the account is deleted."""


class AuditEntryOut(Schema):
    """One change to an account."""

    id: str
    at: Timestamp
    action: ActionOut
    subject: Person
    """Whose account it was."""
    actor: Person
    """Who did it."""
    address: str
    """Where the request came from; of IPv6 the /64 network."""
    request_id: str
    """Finds the request in the log."""
    before: State
    after: State

    @classmethod
    def of(cls, entry: AuditEntry, usernames: dict[str, str]) -> "AuditEntryOut":
        def person(user_id: str) -> Person:
            return Person(id=user_id, username=usernames.get(user_id))

        return cls(
            subject=person(entry.subject_id),
            actor=person(entry.actor_id),
            **entry.model_dump(exclude={"subject_id", "actor_id"}),
        )


class AuditPage(Page[AuditEntryOut]):
    """Changes to accounts, the newest first."""


class AuditQuery(BaseModel):
    """Which changes to list."""

    model_config = ConfigDict(extra="forbid")

    action: ActionOut | None = None
    subject_id: Annotated[str | None, Field(max_length=64, description="The id of a user.")] = None
    actor_id: Annotated[str | None, Field(max_length=64, description="The id of a user.")] = None
    limit: Limit = 20
    cursor: CursorText | None = None
