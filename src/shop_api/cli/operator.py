"""Who runs a command, for the audit log."""

import getpass
import os

from shop_api.audit.models import AuditContext


def operator() -> AuditContext:
    """Return the context of the changes that this command makes: the login name on this machine, or the user id where
    there is no name, as in some containers."""
    return AuditContext.of_process(f"cli:{_login_name()}")


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
