"""`shop-api doctor`."""

import os
import re
from datetime import timedelta
from importlib.metadata import PackageNotFoundError

import pytest

from shop_api.cli import doctor
from shop_api.cli.doctor import Finding
from shop_api.kernel.clock import utc_now
from shop_api.settings import Settings
from support.processes import environment, run, started


@pytest.fixture
def clean(monkeypatch):
    """No settings in the environment."""
    for name in [name for name in os.environ if name.startswith("SHOP_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def about(findings: list[Finding], subject: str) -> Finding:
    [finding] = [finding for finding in findings if finding.subject == subject]
    return finding


async def test_nothing_configured_is_fine_and_stays_untouched(clean, tmp_path):
    clean.setenv("SHOP_DATA_DIR", str(tmp_path / "none"))
    findings = await doctor.examine()
    assert {finding.verdict for finding in findings} == {"ok"}
    assert "embedded, not running" in about(findings, "MongoDB").fact
    assert "embedded, not running" in about(findings, "Redis").fact
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
async def test_engines_elsewhere_are_reached(clean, engines, driver):
    for name, value in environment(engines).items():
        clean.setenv(name, value)
    clean.setenv("SHOP_MONGO_DRIVER", driver)
    findings = await doctor.examine()
    assert [finding for finding in findings if finding.verdict == "broken"] == []
    assert "replica set" in about(findings, "MongoDB").fact
    assert "version" in about(findings, "Redis").fact
    assert about(findings, "data folder").fact == "not needed: both engines run elsewhere"


async def test_engines_that_do_not_answer_are_broken(clean):
    clean.setenv("SHOP_MONGO_URL", "mongodb://root:hunter2@127.0.0.1:1/")
    clean.setenv("SHOP_REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    findings = await doctor.examine()
    for subject in ("MongoDB", "Redis"):
        assert about(findings, subject).verdict == "broken"
        assert "does not answer" in about(findings, subject).fact
        assert f"SHOP_{subject.upper().replace('DB', '')}_URL" in about(findings, subject).remedy
    assert about(findings, "secret").verdict == "broken"
    assert "openssl rand" in about(findings, "secret").remedy


@pytest.mark.parametrize(("minutes", "direction"), [(5, "ahead of"), (-5, "behind")])
async def test_a_clock_that_differs_from_mongodbs_is_a_warning(clean, engines, minutes, direction):
    for name, value in environment(engines).items():
        clean.setenv(name, value)
    assert about(await doctor.examine(), "clock") == Finding("ok", "clock", "agrees with MongoDB's")
    finding = about(await doctor.examine(lambda: utc_now() + timedelta(minutes=minutes)), "clock")
    assert finding.verdict == "warning"
    assert re.fullmatch(rf"is \d+ s {direction} MongoDB's", finding.fact)
    assert "NTP" in finding.remedy


async def test_wrong_and_unknown_settings_are_named(clean, tmp_path):
    clean.setenv("SHOP_DATA_DIR", str(tmp_path))
    clean.setenv("SHOP_PORT", "many")
    clean.setenv("SHOP_MONGO_ULR", "x")
    clean.setenv("SHOP_JWT_KEYS_DIR", str(tmp_path / "none"))
    findings = await doctor.examine()
    assert about(findings, "SHOP_PORT").verdict == "broken"
    assert about(findings, "SHOP_PORT").remedy == "for example: 4000"
    assert about(findings, "SHOP_JWT_KEYS_DIR").verdict == "broken"
    assert about(findings, "SHOP_JWT_KEYS_DIR").fact.startswith(f"{tmp_path}/none: there is no such folder; ")
    assert about(findings, "SHOP_JWT_KEYS_DIR").remedy == "for example: /run/secrets/shop-keys"
    assert about(findings, "SHOP_MONGO_ULR") == Finding(
        "warning", "SHOP_MONGO_ULR", "is not a setting", "did you mean SHOP_MONGO_URL?"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://db-1:27017,db-2:27018/?replicaSet=rs0", "mongodb://db-1:27017,db-2:27018/…"),
        ("mongodb://user:hunter2@db/shop", "mongodb://…@db/…"),
        ("mongodb://user:hun/ter2@db/shop", "set, not shown"),
        ("mongodb://user:hunter2", "set, not shown"),
        ("mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2", "mongodb://db/…"),
        ("mongodb://[::1]:27017/", "mongodb://[::1]:27017/…"),
    ],
)
async def test_no_secret_is_shown(clean, tmp_path, capsys, url, shown):
    clean.setenv("SHOP_MONGO_URL", url)
    clean.setenv("SHOP_JWT_SECRET", "hunter2" * 6 + "0123456789")
    clean.setenv("SHOP_REDIS_URL", "redis://localhost:hunter2")
    _, findings = doctor._configured()
    assert about(findings, "SHOP_MONGO_URL").fact == shown
    doctor.show(findings)
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    assert "set, not shown" in printed


async def test_an_address_that_no_driver_reads_is_not_repeated(clean):
    clean.setenv("SHOP_MONGO_URL", "mongodb://user:hun/ter2@db/")
    clean.setenv("SHOP_REDIS_URL", "redis://localhost:hunter2")
    findings = await doctor.examine()
    assert "ter2" not in str(findings)
    assert "cannot read its address" in about(findings, "MongoDB").fact
    assert "cannot read its address" in about(findings, "Redis").fact


async def test_a_folder_that_cannot_be_used_is_broken(clean, tmp_path):
    (tmp_path / "file").write_text("")
    clean.setenv("SHOP_DATA_DIR", str(tmp_path / "file" / "data"))
    assert about(await doctor.examine(), "data folder").verdict == "broken"


def test_joins_a_running_service_and_exits_with_0_or_1(clean, tmp_path):
    env = dict(os.environ) | {"SHOP_DATA_DIR": str(tmp_path / "data"), "SHOP_PORT": "0"}
    with started(env, tmp_path / "serve.log"):
        done = run(env, "doctor")
        assert done.returncode == 0, done.stdout
        assert "in use by a running shop-api" in done.stdout
        assert "embedded, answers, version" in done.stdout
    wrong = env | {"SHOP_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = run(wrong, "doctor")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("world", "wrong"),
    [
        ({"SHOP_PROT": "1", "SHOP_XYZZY": "1"}, {"SHOP_PROT", "SHOP_XYZZY", "Redis", "disk"}),
        (
            {"SHOP_MONGO_URL": "mongodb://127.0.0.1:1/", "SHOP_REDIS_URL": "redis://127.0.0.1:1/0"},
            {"MongoDB", "Redis", "secret"},
        ),
        (
            {f"SHOP_{name.upper()}": "\N{SNOWMAN}" for name in Settings.model_fields if name != "data_dir"},
            {"SHOP_MONGO_URL", "SHOP_PORT", "SHOP_JWT_SECRET", "SHOP_TRACE_RATIO", "SHOP_SMTP_URL"},
        ),
    ],
)
async def test_whatever_is_not_in_order_comes_with_a_remedy(clean, tmp_path, world, wrong):
    clean.setenv("SHOP_DATA_DIR", str(tmp_path))
    clean.setattr(doctor, "_LITTLE_DISK", 2**62)
    clean.setattr(doctor.embedded_redis, "distribution", _not_installed)
    clean.setenv("PATH", "")
    for name, value in world.items():
        clean.setenv(name, value)
    findings = [finding for finding in await doctor.examine() if finding.verdict != "ok"]
    assert wrong <= {finding.subject for finding in findings}
    assert [finding for finding in findings if len(finding.remedy) < 10] == []


def _not_installed(name: str) -> None:
    raise PackageNotFoundError(name)
