"""The operator of a command, for the audit log."""

import getpass
import os

from shop_api.audit.models import AuditContext


def operator() -> AuditContext:
    """Return the audit context of this command: the login name, or the user id if there is no name, as in some
    containers."""
    return AuditContext.of_process(f"cli:{_login_name()}")


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
