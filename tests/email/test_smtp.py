"""Letters that leave: through a real SMTP server, or to the log."""

import datetime
import ssl

import pytest
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from shop_api.email.queue import Email
from shop_api.email.smtp import LogMailer, NoMailer, SmtpMailer, mailer
from shop_api.features.auth.account_emails import AccountEmails
from shop_api.settings import SettingsError, load
from support.factories import a_user
from support.mail_server import mail_server

LETTER = Email("ada@shop.example", "Grüße", "Zwölf Boxkämpfer\n")
SENDER = "Shop <shop@shop.example>"


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
        letter = AccountEmails("https://api.shop.example", "https://shop.example").reset([(a_user(), "to-ken")])
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
