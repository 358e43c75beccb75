"""What the audit log tells: who did what to which resource, when and from where."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from uuid_utils import uuid7

from shop_api.kernel.pagination import CursorText, Limit, Page
from shop_api.kernel.schema import Schema, Timestamp, late_enum

Action = str
"""What was done: one of the `audit_actions` that features declare."""
AUDIT_ACTIONS = "audit_actions"
ActionOut = Annotated[Action, Field(json_schema_extra=late_enum(AUDIT_ACTIONS))]
SubjectType = str
"""What kind of resource it was done to: one of the `audit_subjects` that features declare."""
AUDIT_SUBJECTS = "audit_subjects"
SubjectTypeOut = Annotated[SubjectType, Field(json_schema_extra=late_enum(AUDIT_SUBJECTS))]
USER: Literal["user"] = "user"
"""The subject of entries that were stored without a type, and the only one that has a name."""
State = dict[str, str | bool | int]
"""Fields and their values; never a secret, a name or an address, so that nothing here has to be erased later."""


class AuditContext(NamedTuple):
    """Who makes a change, and from where."""

    actor_id: str
    """The id of a user. Where none asks, the process: `startup`, or `cli:` and a login name of the machine."""
    address: str
    request_id: str

    @classmethod
    def of_process(cls, actor_id: str) -> "AuditContext":
        """Return the context of changes that no request asks for: those of a command, or of the start."""
        return cls(actor_id, "local", str(uuid7()))


class AuditEvent(NamedTuple):
    """A change to one resource, in the words of the feature that makes it."""

    action: Action
    subject_type: SubjectType
    subject_id: str
    before: Mapping[str, str | bool | int]
    after: Mapping[str, str | bool | int]


class AuditEntry(Schema):
    """One change to a resource, as stored. People are named by their ids alone."""

    id: str
    at: Timestamp
    action: Action
    subject_type: SubjectType = USER
    """Entries from before there were others have none."""
    subject_id: str
    actor_id: str
    address: str
    request_id: str
    before: State
    after: State

    def is_about_user(self, user_id: str) -> bool:
        """Return whether that user's account was changed."""
        return (self.subject_type, self.subject_id) == (USER, user_id)


class Person(Schema):
    """Somebody the log tells about."""

    id: str
    username: str | None
    """As it is now; null once the account is deleted."""


class Subject(Schema):
    """What was changed."""

    type: SubjectTypeOut
    id: str
    username: str | None
    """Of a user, as it is now; null once the account is deleted, and for anything else."""


class AuditEntryOut(Schema):
    """One change to a resource."""

    id: str
    at: Timestamp
    action: ActionOut
    subject: Subject
    """What was changed."""
    actor: Person
    """Who did it; without a username also where no user did: the start of the service, or a command."""
    address: str
    """Where the request came from; of IPv6 the /64 network. `local` if there was none."""
    request_id: str
    """Finds the request in the log."""
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
    """Changes, the newest first."""


class AuditQuery(BaseModel):
    """Which changes to list."""

    model_config = ConfigDict(extra="forbid")

    action: ActionOut | None = None
    subject_type: SubjectTypeOut | None = None
    subject_id: Annotated[str | None, Field(max_length=64, description="The id of what was changed.")] = None
    actor_id: Annotated[str | None, Field(max_length=64, description="The id of a user.")] = None
    limit: Limit = 20
    cursor: CursorText | None = None
