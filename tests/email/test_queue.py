"""Letters that wait to be delivered, while servers are down, hang or refuse."""

import asyncio
import socket
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from shop_api.email import queue, smtp
from shop_api.email.queue import Email, MailQueue
from shop_api.email.smtp import NoMailer, SmtpMailer
from support.mail_server import mail_server
from support.patience import PATIENCE

LETTER = Email("ada@shop.example", "Grüße", "Zwölf Boxkämpfer\n")
SENDER = "Shop <shop@shop.example>"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(queue, "_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(smtp, "_TIMEOUT", 0.5)
    monkeypatch.setattr(queue, "_LAST_SECONDS", 3)


def job(*letters):
    async def write():
        return letters

    return write


class TestOutbox:
    async def test_a_server_that_refuses_for_the_moment_is_asked_again(self, quick):
        with mail_server() as server:
            server.refusals = 2
            async with MailQueue(SmtpMailer(server.url, SENDER)).open() as mail_queue:
                mail_queue.put(job(LETTER))
                await mail_queue.settled()
            assert len(server.letters) == 1

    async def test_one_that_is_down_or_hangs_is_given_up_and_others_go_on(self, quick):
        with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
            async with MailQueue(
                SmtpMailer(f"smtp://127.0.0.1:{silent.getsockname()[1]}", SENDER)
            ).open() as mail_queue:
                mail_queue.put(job(LETTER))
                await mail_queue.settled()
            async with MailQueue(SmtpMailer("smtp://127.0.0.1:1", SENDER)).open() as mail_queue:
                mail_queue.put(job(LETTER))
                await mail_queue.settled()
        assert [line["event"] for line in logs].count("an email was dropped") == 2
        assert LETTER.to not in str(logs)
        assert LETTER.text not in str(logs)

    async def test_a_job_that_fails_ends_no_other(self, quick):
        async def failing():
            raise RuntimeError("secret@shop.example")

        with mail_server() as server, capture_logs() as logs:
            async with MailQueue(SmtpMailer(server.url, SENDER)).open() as mail_queue:
                for _ in range(5):
                    mail_queue.put(failing)
                mail_queue.put(job(LETTER))
            assert len(server.letters) == 1
        assert "secret" not in str(logs)

    async def test_at_most_a_thousand_wait(self, quick):
        gate = asyncio.Event()

        async def waiting():
            await gate.wait()
            return ()

        with capture_logs() as logs:
            async with MailQueue(NoMailer()).open() as mail_queue:
                for _ in range(1010):
                    mail_queue.put(waiting)
                gate.set()
        assert sum("the mail queue is full" in line["event"] for line in logs) == 10

    async def test_the_end_of_the_process_waits_only_so_long(self, quick, monkeypatch):
        monkeypatch.setattr(queue, "_LAST_SECONDS", 0.2)

        async def endless():
            await asyncio.sleep(3600)
            return ()

        async with asyncio.timeout(PATIENCE):
            async with MailQueue(NoMailer()).open() as mail_queue:
                mail_queue.put(endless)

    async def test_nor_longer_when_a_cancellation_is_lost(self, quick, monkeypatch):
        """As `asyncio.wait_for` loses some before Python 3.12."""
        monkeypatch.setattr(queue, "_LAST_SECONDS", 0.1)

        async def deaf():
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
            return ()

        async with asyncio.timeout(PATIENCE):
            async with MailQueue(NoMailer()).open() as mail_queue:
                mail_queue.put(deaf)

    async def test_nor_longer_in_the_middle_of_deliveries(self, quick, monkeypatch):
        monkeypatch.setattr(queue, "_LAST_SECONDS", 0.01)
        with mail_server() as server:
            for _ in range(15):
                async with asyncio.timeout(PATIENCE):
                    async with MailQueue(SmtpMailer(server.url, SENDER)).open() as mail_queue:
                        for _ in range(100):
                            mail_queue.put(job(LETTER))

    async def test_nor_longer_on_a_server_that_hangs(self, quick, monkeypatch):
        monkeypatch.setattr(queue, "_LAST_SECONDS", 0.1)
        monkeypatch.setattr(smtp, "_TIMEOUT", 3600)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with asyncio.timeout(PATIENCE):
                async with MailQueue(
                    SmtpMailer(f"smtp://127.0.0.1:{silent.getsockname()[1]}", SENDER)
                ).open() as mail_queue:
                    mail_queue.put(job(LETTER))
