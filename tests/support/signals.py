"""Signals in the processes that tests start."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_OFTEN_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@contextmanager
def default_for_children() -> Iterator[None]:
    """Until the end of the block, children start with the default action for each signal, as from a terminal.

    A shell starts a background job with SIGINT ignored, nohup with SIGHUP, and whatever a job starts inherits that.
    A handler is not inherited, so one that does nothing goes on ignoring the signal here and resets it in children.
    """
    ignored = [signum for signum in _OFTEN_IGNORED if signal.getsignal(signum) is signal.SIG_IGN]
    for signum in ignored:
        signal.signal(signum, lambda *_: None)
    try:
        yield
    finally:
        for signum in ignored:
            signal.signal(signum, signal.SIG_IGN)
