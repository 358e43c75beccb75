"""Every secret setting may stand in a file that `SHOP_…_FILE` names."""

import os

import pytest
from pydantic import SecretStr

from shop_api.cli import doctor
from shop_api.settings import Settings, SettingsError, load, unknown_variables
from shop_api.settings.secret_files import secret_names

STRONG = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"
VALUES = {
    "mongo_url": "mongodb://u:hunter2@db/",
    "redis_url": "redis://:hunter2@cache/0",
    "redis_guards_url": "redis://:hunter2@guards/0",
    "jwt_secret": STRONG,
    "jwt_previous_secrets": f"{STRONG}a,{STRONG}b",
    "backup_key": f"{STRONG}c",
    "admin_password": "hunter2 and more",
    "smtp_url": "smtp://u:hunter2@mail.example",
}
BESIDE = {"admin_password": {"admin_username": "owner"}, "smtp_url": {"mail_from": "shop@shop.example"}}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No settings in the environment."""
    for name in [name for name in os.environ if name.upper().startswith("SHOP_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def revealed(value: object) -> object:
    if isinstance(value, list):
        return ",".join(secret.get_secret_value() for secret in value)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        load()
    return str(refused.value)


def test_the_secrets_are_those_that_are_tried_here():
    assert set(secret_names(Settings)) == VALUES.keys()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", VALUES)
def test_every_secret_is_read_from_its_file(clean, tmp_path, name, ending):
    file = tmp_path / name
    file.write_bytes((VALUES[name] + ending).encode())
    clean.setenv(f"SHOP_{name.upper()}_FILE", str(file))
    settings = load(**BESIDE.get(name, {}))
    assert revealed(getattr(settings, name)) == VALUES[name]
    assert "hunter2" not in repr(settings)
    assert unknown_variables() == []


@pytest.mark.parametrize("name", VALUES)
class TestRefusals:
    def test_the_variable_and_its_file(self, clean, tmp_path, name):
        file = tmp_path / name
        file.write_text(VALUES[name])
        clean.setenv(f"SHOP_{name.upper()}", VALUES[name])
        clean.setenv(f"SHOP_{name.upper()}_FILE", str(file))
        message = refusal()
        assert message.startswith(f"SHOP_{name.upper()}: SHOP_{name.upper()}_FILE is set too: keep one of them (")
        assert VALUES[name] not in message

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\xff", "is not UTF-8 text"),
        ],
    )
    def test_a_file_without_a_value(self, clean, tmp_path, name, content, problem):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        clean.setenv(f"SHOP_{name.upper()}_FILE", str(file))
        message = refusal()
        assert message.startswith(f"SHOP_{name.upper()}: {file}, named by SHOP_{name.upper()}_FILE, {problem} (")
        assert "hunter2" not in message


def test_a_value_that_is_wrong_is_told_like_that_of_a_variable_and_not_repeated(clean, tmp_path):
    (tmp_path / "redis_url").write_text("mongodb://hunter2@localhost")
    clean.setenv("SHOP_REDIS_URL_FILE", str(tmp_path / "redis_url"))
    assert refusal().startswith("SHOP_REDIS_URL: must begin with redis://")
    assert "hunter2" not in refusal()


def test_all_mistakes_are_told_together(clean, tmp_path):
    clean.setenv("SHOP_PORT", "x")
    clean.setenv("SHOP_JWT_SECRET_FILE", str(tmp_path / "none"))
    assert [line.split(":")[0] for line in refusal().splitlines()] == ["SHOP_PORT", "SHOP_JWT_SECRET"]


def test_an_empty_variable_is_an_absent_one_and_case_does_not_matter(clean, tmp_path):
    (tmp_path / "secret").write_text(STRONG)
    clean.setenv("SHOP_JWT_SECRET", "")
    clean.setenv("shop_jwt_secret_file", str(tmp_path / "secret"))
    clean.setenv("SHOP_MONGO_URL_FILE", "")
    assert (revealed(load().jwt_secret), load().mongo_url) == (STRONG, None)


def test_what_is_no_secret_has_no_file(clean):
    clean.setenv("SHOP_PORT_FILE", "/port")
    assert unknown_variables() == ["SHOP_PORT_FILE is not a setting; did you mean SHOP_PORT?"]


async def test_the_doctor_names_a_bad_file(clean, tmp_path):
    clean.setenv("SHOP_DATA_DIR", str(tmp_path))
    clean.setenv("SHOP_SMTP_URL_FILE", str(tmp_path / "none"))
    [finding] = [finding for finding in await doctor.examine() if finding.subject == "SHOP_SMTP_URL"]
    assert finding.verdict == "broken"
    assert f"{tmp_path}/none, named by SHOP_SMTP_URL_FILE, cannot be read" in finding.fact
