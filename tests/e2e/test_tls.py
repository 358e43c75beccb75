"""Engines that are reached over TLS alone, with a certificate that the service has to check."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.conftest import ADMIN
from support.factories import a_product
from support.faults import Wire
from support.key_files import pem_of, private_key
from support.processes import run, started, token_of

pytestmark = pytest.mark.e2e


class Engines(NamedTuple):
    mongo_url: str
    redis_url: str
    certificate: Path


@pytest.fixture(scope="module")
def engines_with_tls(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    folder = tmp_path_factory.mktemp("tls")
    key, names = private_key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "engines")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(names, names, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(pem_of(key))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with ExitStack() as stack:
        mongo, redis = (
            stack.enter_context(Wire(int(urlsplit(env[name]).port or 0), tls).open())
            for name in ("SHOP_MONGO_URL", "SHOP_REDIS_URL")
        )
        yield Engines(
            f"mongodb://127.0.0.1:{mongo}/?directConnection=true&tls=true",
            f"rediss://127.0.0.1:{redis}/0",
            folder / "certificate.pem",
        )


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
def test_a_shop_on_engines_whose_certificate_is_known(
    env: dict[str, str], engines_with_tls: Engines, tmp_path: Path, driver: str
):
    mongo, redis, certificate = engines_with_tls
    own = {
        **env,
        "SHOP_MONGO_URL": f"{mongo}&tlsCAFile={certificate}",
        "SHOP_REDIS_URL": f"{redis}?ssl_ca_certs={certificate}",
        "SHOP_MONGO_DRIVER": driver,
        "SHOP_RATE_LIMITS": "on",
    }
    with started(own, tmp_path / "serve.log") as (_, url), httpx.Client(base_url=url) as client:
        ready = client.get("/health/ready").json()
        assert (ready["mongo"], ready["redis"]) == ("up", "up")
        token = {"Authorization": f"Bearer {token_of(url, *ADMIN)}"}
        product = f"/products/tls-{driver}"
        client.post("/products", json=a_product(product_id=f"tls-{driver}"), headers=token).raise_for_status()
        assert client.get(product).status_code == 200


@pytest.mark.parametrize("engine", ["SHOP_MONGO_URL", "SHOP_REDIS_URL"])
def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    env: dict[str, str], engines_with_tls: Engines, engine: str
):
    url = engines_with_tls.mongo_url if engine == "SHOP_MONGO_URL" else engines_with_tls.redis_url
    own = {**env, engine: url, "COLUMNS": "2000"}  # so that no line of the table is broken
    told = run(own, "doctor")
    assert told.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in told.stdout
