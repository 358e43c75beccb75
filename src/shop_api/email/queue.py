"""Mail to users, written and delivered beside the requests. Nobody who asks for one waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import aiosmtplib
import structlog

from shop_api.kernel import tasks

log = structlog.get_logger()

# Seconds between two attempts to deliver.
_PAUSES = (1, 5)
_MOST_WAITING = 1000
_WORKERS = 2
# How long the end of the process waits for what is on its way.
_LAST_SECONDS = 5


class Email(NamedTuple):
    """A letter to one address."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """Delivers a letter, or raises OSError or SMTPException."""

    async def send(self, email: Email) -> None: ...


Job = Callable[[], Awaitable[Sequence[Email]]]
"""Finds out what has to be written to whom."""


class MailQueue:
    """Writes and delivers letters beside the requests: neither the answer to a request nor its time tells whether
    there was one. What waits here is lost with the process, and then its user asks again."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(_MOST_WAITING)

    def put(self, job: Job) -> None:
        """Does `job` soon, and delivers what it gives."""
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            log.warning("too many mails are waiting: one was given up")

    async def settled(self) -> None:
        """Returns once nothing is waiting or under way."""
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
                log.warning("mails that could not be delivered in time are given up", waiting=self._jobs.qsize())
            await tasks.end(workers)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                for email in await job():
                    await self._deliver(email)
            except Exception as error:  # one letter must not end all others
                # Its text may hold an address.
                log.error("a mail was given up", reason=type(error).__name__)
            finally:
                self._jobs.task_done()

    async def _deliver(self, email: Email) -> None:
        for pause in _PAUSES:
            try:
                await self._mailer.send(email)
            except (OSError, aiosmtplib.SMTPException) as error:
                log.warning("a mail could not be delivered, and is tried again", reason=type(error).__name__)
                await asyncio.sleep(pause)
            else:
                return
        await self._mailer.send(email)
