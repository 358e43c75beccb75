"""Letters on their way: a real SMTP server, and ones that are down, hang, refuse or want encryption."""

import asyncio
import datetime
import socket
import ssl
from contextlib import suppress

import pytest
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from shop_api.email import mail
from shop_api.email.mail import LogMailer, Mail, NoMailer, Outbox, SmtpMailer, mailer
from shop_api.features.auth.letters import Letters
from shop_api.settings import SettingsError, load
from support.factories import a_user
from support.mail_server import mail_server
from support.processes import PATIENCE

LETTER = Mail("ada@shop.example", "Grüße", "Zwölf Boxkämpfer\n")
SENDER = "Shop <shop@shop.example>"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(mail, "_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(mail, "_TIMEOUT", 0.5)
    monkeypatch.setattr(mail, "_LAST_SECONDS", 3)


def job(*letters):
    async def write():
        return letters

    return write


class TestSmtp:
    async def test_arrives_as_it_was_written(self):
        with mail_server() as server:
            await SmtpMailer(server.url, SENDER).send(LETTER)
            [letter] = server.letters
        assert (letter["from"], letter["to"], letter["subject"]) == (SENDER, LETTER.to, LETTER.subject)
        assert letter.get_content().replace("\r\n", "\n") == LETTER.text
        assert letter["auto-submitted"] == "auto-generated"

    async def test_no_header_can_be_added_through_an_address(self):
        with mail_server() as server:
            with pytest.raises(ValueError, match="linefeed"):
                await SmtpMailer(server.url, SENDER).send(LETTER._replace(to="a@b.example\r\nBcc: eve@b.example"))
            assert server.letters == []

    async def test_a_password_is_sent_only_when_encrypted(self, tmp_path):
        certificate, key = _certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        seen = []

        def authenticate(server, session, envelope, mechanism, data):
            seen.append((data.login, data.password))
            return AuthResult(success=True)

        trusting = ssl.create_default_context(cafile=certificate)
        with mail_server(tls_context=context, require_starttls=True, authenticator=authenticate) as server:
            url = server.url.replace("127.0.0.1", "us%40er:p%2Fw@localhost")
            await SmtpMailer(url, SENDER, trusting).send(LETTER)
            assert len(server.letters) == 1
        assert seen == [(b"us@er", b"p/w")]
        with mail_server() as server:  # offers no encryption
            with pytest.raises(Exception, match="STARTTLS"):
                await SmtpMailer(server.url.replace("127.0.0.1", "user:pw@127.0.0.1"), SENDER).send(LETTER)
            assert server.letters == []


class TestOutbox:
    async def test_a_server_that_refuses_for_the_moment_is_asked_again(self, quick):
        with mail_server() as server:
            server.refusals = 2
            async with Outbox(SmtpMailer(server.url, SENDER)).open() as outbox:
                outbox.put(job(LETTER))
                await outbox.settled()
            assert len(server.letters) == 1

    async def test_one_that_is_down_or_hangs_is_given_up_and_others_go_on(self, quick):
        with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
            async with Outbox(SmtpMailer(f"smtp://127.0.0.1:{silent.getsockname()[1]}", SENDER)).open() as outbox:
                outbox.put(job(LETTER))
                await outbox.settled()
            async with Outbox(SmtpMailer("smtp://127.0.0.1:1", SENDER)).open() as outbox:
                outbox.put(job(LETTER))
                await outbox.settled()
        assert [line["event"] for line in logs].count("a mail was given up") == 2
        assert LETTER.to not in str(logs)
        assert LETTER.text not in str(logs)

    async def test_a_job_that_fails_ends_no_other(self, quick):
        async def failing():
            raise RuntimeError("secret@shop.example")

        with mail_server() as server, capture_logs() as logs:
            async with Outbox(SmtpMailer(server.url, SENDER)).open() as outbox:
                for _ in range(5):
                    outbox.put(failing)
                outbox.put(job(LETTER))
            assert len(server.letters) == 1
        assert "secret" not in str(logs)

    async def test_at_most_a_thousand_wait(self, quick):
        gate = asyncio.Event()

        async def waiting():
            await gate.wait()
            return ()

        with capture_logs() as logs:
            async with Outbox(NoMailer()).open() as outbox:
                for _ in range(1010):
                    outbox.put(waiting)
                gate.set()
        assert sum("too many mails" in line["event"] for line in logs) == 10

    async def test_the_end_of_the_process_waits_only_so_long(self, quick, monkeypatch):
        monkeypatch.setattr(mail, "_LAST_SECONDS", 0.2)

        async def endless():
            await asyncio.sleep(3600)
            return ()

        async with asyncio.timeout(PATIENCE):
            async with Outbox(NoMailer()).open() as outbox:
                outbox.put(endless)

    async def test_nor_longer_when_a_cancellation_is_lost(self, quick, monkeypatch):
        """As `asyncio.wait_for` loses some before Python 3.12."""
        monkeypatch.setattr(mail, "_LAST_SECONDS", 0.1)

        async def deaf():
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
            return ()

        async with asyncio.timeout(PATIENCE):
            async with Outbox(NoMailer()).open() as outbox:
                outbox.put(deaf)

    async def test_nor_longer_in_the_middle_of_deliveries(self, quick, monkeypatch):
        monkeypatch.setattr(mail, "_LAST_SECONDS", 0.01)
        with mail_server() as server:
            for _ in range(15):
                async with asyncio.timeout(PATIENCE):
                    async with Outbox(SmtpMailer(server.url, SENDER)).open() as outbox:
                        for _ in range(100):
                            outbox.put(job(LETTER))

    async def test_nor_longer_on_a_server_that_hangs(self, quick, monkeypatch):
        monkeypatch.setattr(mail, "_LAST_SECONDS", 0.1)
        monkeypatch.setattr(mail, "_TIMEOUT", 3600)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with asyncio.timeout(PATIENCE):
                async with Outbox(SmtpMailer(f"smtp://127.0.0.1:{silent.getsockname()[1]}", SENDER)).open() as outbox:
                    outbox.put(job(LETTER))


class TestSettings:
    async def test_without_a_server_nothing_is_sent_and_nothing_told(self):
        assert isinstance(mailer(load()), NoMailer)
        with capture_logs() as logs:
            await NoMailer().send(LETTER)
        assert LETTER.to not in str(logs)
        assert LETTER.text not in str(logs)

    async def test_log_prints_it(self):
        assert isinstance(mailer(load(smtp_url="log:")), LogMailer)
        with capture_logs() as logs:
            await LogMailer().send(LETTER)
        assert logs[0]["text"] == LETTER.text.strip()

    async def test_a_link_that_is_printed_ends_where_it_ends(self):
        letter = Letters("https://api.shop.example", "https://shop.example").reset(a_user(), "to-ken")
        with capture_logs() as logs:
            await LogMailer().send(letter)
        assert logs[0]["text"].split()[-1] == "https://shop.example/reset-password#token=to-ken"

    def test_a_server_needs_a_sender(self):
        with pytest.raises(SettingsError, match="SHOP_MAIL_FROM: is missing: SHOP_SMTP_URL needs a sender"):
            load(smtp_url="smtp://mail.example")
        settings = load(smtp_url="smtp://mail.example", mail_from=SENDER)
        assert isinstance(mailer(settings), SmtpMailer)

    @pytest.mark.parametrize(
        "url",
        [
            *("http://mail.example", "mail.example:25", "log:x"),
            *("smtp://", "smtp://:25", "smtp://mail.example:port", "smtp://mail.example:99999", "smtp://[::1"),
            *("smtp://user@mail.example", "smtp://:S3cret@mail.example", "smtp://mail.example/path"),
            *(
                "smtp://user:S3cret/x@mail.example",
                "smtp://user:12#S3cret@mail.example",
                "smtp://u:1?S3cret@mail.example",
            ),
        ],
    )
    def test_an_address_that_cannot_be_one_is_refused_at_the_start_and_not_repeated(self, url):
        with pytest.raises(SettingsError, match="SHOP_SMTP_URL") as refused:
            load(smtp_url=url, mail_from=SENDER)
        assert "S3cret" not in str(refused.value)

    @pytest.mark.parametrize(
        "sender", ["Shop", "@", "a@b.example, c@d.example", "Shop, Ltd <shop@shop.example>", "a\n@b"]
    )
    def test_a_sender_that_is_not_one_address_is_refused_at_the_start(self, sender):
        with pytest.raises(SettingsError, match="SHOP_MAIL_FROM"):
            load(smtp_url="smtp://mail.example", mail_from=sender)

    @pytest.mark.parametrize("sender", ["shop@localhost", SENDER, '"Shop, Ltd" <shop@shop.example>'])
    async def test_a_good_sender_arrives(self, sender):
        with mail_server() as server:
            await mailer(load(smtp_url=server.url, mail_from=sender)).send(LETTER)
            assert server.letters[0]["from"] == sender


def _certificate(folder):
    """A certificate of its own for localhost, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
