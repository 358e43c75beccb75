"""Which files are signing keys, and what is said of those that are not."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from shop_api.security.signing_keys.files import BadKey, SigningKey, read, read_all
from support.key_files import add_key, pem_of, private_key

NAME = "20300131T235959Z.pem"


def key_in(folder: Path, pem: bytes, name: str = NAME) -> SigningKey:
    path = folder / name
    path.write_bytes(pem)
    return read(path)


def refusal(folder: Path, pem: bytes, name: str = NAME) -> str:
    with pytest.raises(BadKey) as refused:
        key_in(folder, pem, name)
    said = str(refused.value)
    assert said.startswith(f"{folder / name}: ")
    assert len(said.splitlines()) == 1
    return said.removeprefix(f"{folder / name}: ")


class TestAKey:
    @pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
    def test_has_the_one_algorithm_of_its_kind(self, tmp_path, algorithm):
        assert key_in(tmp_path, pem_of(private_key(algorithm))).algorithm == algorithm

    @pytest.mark.parametrize("name", [NAME, "20300131T235959Z-ES256-1.2_b.pem", "20300131T235959Z.new.pem"])
    def test_was_made_when_its_name_says(self, tmp_path, name):
        key = key_in(tmp_path, pem_of(private_key()), name)
        assert (key.name, key.made) == (name, datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC))

    @pytest.mark.parametrize(("algorithm", "members"), [("ES256", "kty crv x y"), ("RS256", "kty n e")])
    def test_shows_its_public_members_only(self, tmp_path, algorithm, members):
        assert set(key_in(tmp_path, pem_of(private_key(algorithm))).public) == set(members.split())

    def test_is_called_by_its_thumbprint(self, tmp_path):
        """The example of RFC 7638 §3.1, with its public half in place of ours."""
        key = key_in(tmp_path, pem_of(private_key("RS256")))
        modulus = (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
            "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZH"
            "zu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEg"
            "U8awapJzKnqDKgw"
        )
        key.public.clear()
        key.public.update(n=modulus, e="AQAB", kty="RSA")
        assert key.kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

    def test_has_coordinates_of_full_length_even_if_they_begin_with_zeros(self, tmp_path):
        small = next(key for key in iter(lambda: ec.generate_private_key(ec.SECP256R1()), None) if _x(key) < 2**248)
        assert len(key_in(tmp_path, pem_of(small)).public["x"]) == 43

    def test_is_the_same_whatever_its_file_is_called(self, tmp_path):
        pem = pem_of(private_key())
        assert key_in(tmp_path, pem).kid == key_in(tmp_path, pem, "20200101T000000Z.pem").kid


def _x(key: ec.EllipticCurvePrivateKey) -> int:
    return key.public_key().public_numbers().x


class TestWhatIsNoKey:
    @pytest.mark.parametrize(
        ("key", "problem"),
        [
            (rsa.generate_private_key(65537, 1024), "is an RSA key of 1024 bits; RS256 needs at least 2048"),
            (ec.generate_private_key(ec.SECP384R1()), "is an EC key on secp384r1; ES256 needs P-256"),
            (ec.generate_private_key(ec.SECP256K1()), "is an EC key on secp256k1; ES256 needs P-256"),
            (ed25519.Ed25519PrivateKey.generate(), "is neither an RSA nor an EC key"),
        ],
        ids=["RSA-1024", "P-384", "secp256k1", "Ed25519"],
    )
    def test_other_kinds_are_refused(self, tmp_path, key, problem):
        assert refusal(tmp_path, pem_of(key)) == problem

    @pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
    def test_other_forms_are_refused(self, tmp_path, algorithm):
        key = private_key(algorithm)
        for other in (
            b"",
            b"text",
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")),
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ):
            assert refusal(tmp_path, other).startswith("is no private key in PEM as PKCS8 without a passphrase")

    @pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
    def test_one_that_is_half_written_is_refused(self, tmp_path, algorithm):
        pem = pem_of(private_key(algorithm))
        for length in range(30, len(pem) - len("\n-----END PRIVATE KEY-----\n"), 50):
            assert refusal(tmp_path, pem[:length]) == "is damaged or incomplete"

    def test_one_that_does_not_belong_to_its_public_half_is_refused(self, tmp_path):
        """Found by trying it out, not by the proof of its factors, which takes too long."""
        key = private_key("RS256")
        assert isinstance(key, rsa.RSAPrivateKey)
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
        other = der.replace(modulus, modulus[:-1] + bytes([modulus[-1] ^ 2]))
        damaged = load_der_private_key(other, None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(damaged, rsa.RSAPrivateKey)
        assert refusal(tmp_path, pem_of(damaged)).startswith("is damaged")

    @pytest.mark.parametrize(
        "name", ["key.pem", "2030-01-31.pem", "20301399T000000Z.pem", "20300131T235959.pem", "20300131T235959Zx.pem"]
    )
    def test_one_whose_name_says_no_time_is_refused(self, tmp_path, name):
        said = refusal(tmp_path, pem_of(private_key()), name)
        assert said.startswith("its name must begin with when it was made, in UTC, such as 2030")

    def test_what_is_no_file_is_refused_without_waiting_for_it(self, tmp_path):
        path = tmp_path / NAME
        os.mkfifo(path)
        with pytest.raises(BadKey, match=r"Z\.pem: is no file$"):
            read(path)
        path.unlink()
        path.symlink_to(tmp_path / "nothing")
        with pytest.raises(BadKey, match=r"Z\.pem: leads nowhere$"):
            read(path)

    def test_nothing_of_a_key_is_in_the_message(self, tmp_path):
        pem = pem_of(private_key())
        assert pem.splitlines()[1].decode()[:20] not in refusal(tmp_path, pem[:150])


class TestReadAll:
    def test_the_oldest_comes_first_whatever_the_times_of_the_files(self, tmp_path):
        years = (2031, 2029, 2030)
        for serial, year in enumerate(years):
            add_key(tmp_path, datetime(year, 1, 1, tzinfo=UTC), serial=serial)
        assert [key.made.year for key in read_all(tmp_path)] == [2029, 2030, 2031]

    def test_other_files_are_left_alone(self, tmp_path):
        key = add_key(tmp_path)
        for name in ("README", "tls.key", ".20300131T235959Z.pem", ".20300131T235959Z.pem.new"):
            (tmp_path / name).write_text("text")
        assert [found.name for found in read_all(tmp_path)] == [key.name]

    def test_a_volume_of_kubernetes_is_read_through_its_links(self, tmp_path):
        version = tmp_path / "..2030_01_01"
        version.mkdir()
        key = add_key(version)
        (tmp_path / "..data").symlink_to(version.name)
        (tmp_path / key.name).symlink_to(f"..data/{key.name}")
        assert [found.name for found in read_all(tmp_path)] == [key.name]

    def test_one_bad_file_is_named(self, tmp_path):
        add_key(tmp_path)
        (tmp_path / NAME).write_text("text")
        with pytest.raises(BadKey, match=f"{NAME}: is no private key"):
            read_all(tmp_path)

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(BadKey, match="none: there is no such folder"):
            read_all(tmp_path / "none")
