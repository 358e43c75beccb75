"""An in-memory queue that composes and delivers email in the background."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import aiosmtplib
import structlog

from shop_api.kernel import tasks

log = structlog.get_logger()

# Seconds before each further delivery attempt.
_PAUSES = (1, 5)
_MAX_WAITING = 1000
_WORKERS = 2
# Seconds that shutdown waits for queued email.
_LAST_SECONDS = 5


class Email(NamedTuple):
    """An email to one address."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """Delivers an email. Raises OSError or SMTPException on failure."""

    async def send(self, email: Email) -> None: ...


Job = Callable[[], Awaitable[Sequence[Email]]]
"""Composes the emails to send."""


class MailQueue:
    """Composes and delivers email in the background, so that neither the response nor its timing reveals whether an
    email was sent. Queued email is lost if the process dies; the user can request it again."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(_MAX_WAITING)

    def put(self, job: Job) -> None:
        """Queue `job`; its emails are delivered in the background."""
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            log.warning("the mail queue is full: an email was dropped")

    async def settled(self) -> None:
        """Wait until the queue is empty and all jobs are finished."""
        await self._jobs.join()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["MailQueue"]:
        workers = {asyncio.create_task(self._work()) for _ in range(_WORKERS)}
        try:
            yield self
        finally:
            try:
                async with asyncio.timeout(_LAST_SECONDS):
                    await self.settled()
            except TimeoutError:
                log.warning("emails not delivered before shutdown were dropped", waiting=self._jobs.qsize())
            await tasks.end(workers)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                for email in await job():
                    await self._deliver(email)
            except Exception as error:  # a failed email must not stop the worker
                # Without its message, which may contain an address.
                log.error("an email was dropped", reason=type(error).__name__)
            finally:
                self._jobs.task_done()

    async def _deliver(self, email: Email) -> None:
        for pause in _PAUSES:
            try:
                await self._mailer.send(email)
            except (OSError, aiosmtplib.SMTPException) as error:
                log.warning("an email could not be delivered and will be retried", reason=type(error).__name__)
                await asyncio.sleep(pause)
            else:
                return
        await self._mailer.send(email)
