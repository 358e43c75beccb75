"""Names that were given up for the field's terms stay given up."""

import io
import tokenize

import pytest

from test_structure import MODULES

OLD_NAMES = """
kernel/permissions.py: Visitor
http/dependencies.py: VisitorDep, CreationDep, ExpectedDep, OriginDep
http/request_state.py: creation
http/middleware.py: Admission, HeadAsGet, BodyLimit, NotModified, Cors
http/request_context.py: RequestContext
http/idempotency/repository.py: Answer, creation
kernel/versions.py: Expected
audit/models.py: Origin
features/auth/account_emails.py: Letters
features/auth/models.py: Device
features/auth/service.py: is_signed_in
features/products/models.py: says
features/products/transfer/importing.py: Rehearsal, Outcome, _rounds
features/products/transfer/conversion.py: Unfit
email/queue.py: Outbox, Mail
storage/redis/fallback.py: Shared, ask
security/sign_in_delays.py: _Own
security/signing_keys/store.py: KeyFolder
observability/command_metrics.py: Calls
observability/histogram.py: Durations, tell
cache/middleware.py: CacheFirst
cache/cache.py: Flight, _take_off, _land, Found, spare, GRACE
cache/redis.py: Ticket, era, stamp
cache/response.py: Answer
storage/mongo/client.py: moment, changes, prepare
container.py: Shop, open_shop
"""
ROWS = [
    (module.strip(), name.strip())
    for line in OLD_NAMES.strip().splitlines()
    for module, names in [line.split(":")]
    for name in names.split(",")
]

# Arguments and variables that say nothing of what they hold.
VAGUE = {"given", "wanted", "said", "beaten"}


def names_in(source: str) -> set[str]:
    """Every identifier that the code uses; none from strings and comments."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def test_names_in_strings_do_not_count():
    assert names_in('x = "Shop"  # Shop\ny: Shop2') == {"x", "y", "Shop2"}


@pytest.mark.parametrize(("module", "name"), ROWS)
def test_an_old_name_does_not_come_back(module: str, name: str):
    assert name not in names_in(MODULES[module])


def test_no_name_is_vague():
    assert {f"{module}: {name}" for module, source in MODULES.items() for name in names_in(source) & VAGUE} == set()
