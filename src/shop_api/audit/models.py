"""Audit log models: who did what to which resource, when and from where."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from uuid_utils import uuid7

from shop_api.kernel.pagination import CursorText, Limit, Page
from shop_api.kernel.permissions import Caller
from shop_api.kernel.schema import Schema, Timestamp, late_enum

Action = str
"""One of the `audit_actions` that features declare."""
AUDIT_ACTIONS = "audit_actions"
ActionOut = Annotated[Action, Field(json_schema_extra=late_enum(AUDIT_ACTIONS))]
SubjectType = str
"""The type of the changed resource: one of the `audit_subjects` that features declare."""
AUDIT_SUBJECTS = "audit_subjects"
SubjectTypeOut = Annotated[SubjectType, Field(json_schema_extra=late_enum(AUDIT_SUBJECTS))]
USER: Literal["user"] = "user"
"""The subject type of entries stored without one, and the only type whose subjects have a username."""
State = dict[str, str | bool | int]
"""Field values. Never a secret, a name or an e-mail address, so that erasing a user need not change the log."""


class AuditContext(NamedTuple):
    """Who makes a change, and from where."""

    actor_id: str
    """A user id, or for changes made by a process `startup` or `cli:<login name on the machine>`."""
    address: str
    request_id: str
    caller: Caller | None = None
    """The caller of the request, whose authority is read again in the transaction of the change; None if a process or
    the holder of a one-time token makes it."""

    @classmethod
    def of_process(cls, actor_id: str) -> "AuditContext":
        """Return the context of changes made without a request, by a command or at start-up."""
        return cls(actor_id, "local", str(uuid7()))


class AuditEvent(NamedTuple):
    """A change to one resource, as the feature that makes the change describes it."""

    action: Action
    subject_type: SubjectType
    subject_id: str
    before: Mapping[str, str | bool | int]
    after: Mapping[str, str | bool | int]


class AuditEntry(Schema):
    """A change to a resource, as stored. Refers to users by id only."""

    id: str
    at: Timestamp
    action: Action
    subject_type: SubjectType = USER
    """Absent in entries stored before other subject types existed."""
    subject_id: str
    actor_id: str
    address: str
    request_id: str
    before: State
    after: State

    def is_about_user(self, user_id: str) -> bool:
        """Return whether the entry records a change to the account of this user."""
        return (self.subject_type, self.subject_id) == (USER, user_id)


class Person(Schema):
    """The actor of a change."""

    id: str
    username: str | None
    """The current username; null once the account is deleted."""


class Subject(Schema):
    """The changed resource."""

    type: SubjectTypeOut
    id: str
    username: str | None
    """The current username if the subject is a user; null once the account is deleted and for other types."""


class AuditEntryOut(Schema):
    """A change to a resource."""

    id: str
    at: Timestamp
    action: ActionOut
    subject: Subject
    """The changed resource."""
    actor: Person
    """Who made the change. Has no username if it was made by a command or at start-up."""
    address: str
    """IP address of the client; for IPv6 the /64 network. `local` if there was no request."""
    request_id: str
    """The request id, as in the server's log."""
    before: State
    after: State

    @classmethod
    def of(cls, entry: AuditEntry, usernames: Mapping[str, str]) -> "AuditEntryOut":
        username = usernames.get(entry.subject_id) if entry.subject_type == USER else None
        return cls(
            subject=Subject(type=entry.subject_type, id=entry.subject_id, username=username),
            actor=Person(id=entry.actor_id, username=usernames.get(entry.actor_id)),
            **entry.model_dump(exclude={"subject_type", "subject_id", "actor_id"}),
        )


class AuditPage(Page[AuditEntryOut]):
    """A page of changes, newest first."""


class AuditQuery(BaseModel):
    """Filters and page of a list of changes."""

    model_config = ConfigDict(extra="forbid")

    action: ActionOut | None = None
    subject_type: SubjectTypeOut | None = None
    subject_id: Annotated[str | None, Field(max_length=64, description="The id of the changed resource.")] = None
    actor_id: Annotated[str | None, Field(max_length=64, description="The id of a user.")] = None
    limit: Limit = 20
    cursor: CursorText | None = None
