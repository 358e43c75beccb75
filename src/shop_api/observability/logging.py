"""Structured logs: JSON lines, or readable lines on a terminal; one line per request."""

import asyncio
import atexit
import logging
import re
import sys
import traceback
from collections import deque
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo

from shop_api.settings import Settings

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)
"""The id of the current request."""


def _with_request_id(_: Any, __: str, event: EventDict) -> EventDict:
    if request_id := current_request_id.get():
        event["request_id"] = request_id
    return event


# Characters that a terminal could interpret as a line end or a control sequence. JSON escapes them anyway.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _plain(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _without_control(_: Any, __: str, event: EventDict) -> EventDict:
    return {_plain(name): _plain(value) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(stream: TextIO, error: ExcInfo) -> None:
    """Write a traceback without the values of variables, which may be passwords. Indented, so that no part can pass
    for a log line."""
    for line in "".join(traceback.format_exception(*error)).splitlines():
        stream.write(f"\n    {_plain(line)}")


class _Batched:
    """Buffers log lines and writes them to `stream` every 50 ms.

    Each separate write would release the GIL to the driver's threads, and wait as long as a query to get it back.
    A killed process loses the buffered lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        atexit.register(self._write_out)

    def write(self, text: str) -> None:
        self._lines.append(text)

    def flush(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_out()
            return
        # A loop that has ended takes its timer with it: `shop-api serve` runs one loop before that of the server.
        if self._timer is None or loop is not self._loop:
            self._timer, self._loop = loop.call_later(0.05, self._write_out), loop

    def _write_out(self) -> None:
        self._timer = None
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()


def configure_logging(settings: Settings, stream: TextIO = sys.stderr) -> None:
    """Send structlog's and the standard library's records to `stream` in one format."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    shared: list[Any] = [
        _with_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.otlp_endpoint:
        from shop_api.observability.spans import with_trace_id

        shared.append(with_trace_id)
    on_console = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=_write_traceback)
    renderer: list[Any] = (
        [_without_control, on_console]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    output: Any = stream if console else _Batched(stream)
    structlog.configure(
        processors=[*shared, *renderer],
        # Write directly to the stream: through the standard library a line costs more than ten cached responses.
        logger_factory=structlog.WriteLoggerFactory(output),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for chatty in ("pymongo", "asyncio", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
