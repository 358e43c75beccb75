"""What may be set, and how a wrong value is told."""

import json
import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from shop_api.settings import Settings, SettingsError, load

STRONG = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"
GIVEN = {"mongo_url": "mongodb://db/", "redis_url": "redis://cache/0", "jwt_secret": STRONG}


NONSENSE = "\x00/nonsense"
# What is wrong with these shows when they are used: see TestRefusals in test_serve.py.
TAKES_ANY_TEXT = {"data_dir", "host", "jwt_keys_dir", "admin_username", "admin_password"}


def refusal(**given: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load(**given)
    return str(refused.value)


class TestRequired:
    def test_gives_the_addresses_and_the_secret(self):
        assert load(**GIVEN).required() == ("mongodb://db/", "redis://cache/0", STRONG.encode())

    @pytest.mark.parametrize("missing", GIVEN)
    def test_names_what_is_missing_with_an_example(self, missing):
        settings = load(**{name: value for name, value in GIVEN.items() if name != missing})
        with pytest.raises(SettingsError) as refused:
            settings.required()
        assert str(refused.value).startswith(f"SHOP_{missing.upper()}: is missing (for example: ")
        assert len(str(refused.value).splitlines()) == 1

    def test_names_all_that_is_missing(self):
        with pytest.raises(SettingsError) as refused:
            load().required()
        assert len(str(refused.value).splitlines()) == 3


class TestSecret:
    @pytest.mark.parametrize(
        "secret",
        [
            STRONG,
            "k8Jx-2mQz_7vWpLr4TyBn9sDf3HgC6eA",
            "ünïcödé-sécrèt-wïth-mäny-bytes",
            "x y z 0123456789 ABCDEFGHIJKLMNO",
        ],
    )
    def test_a_strong_one_will_do(self, secret):
        assert load(**{**GIVEN, "jwt_secret": secret}).required()[2] == secret.encode()

    @pytest.mark.parametrize(
        ("secret", "problem"),
        [
            ("x", "needs at least 32 bytes"),
            (STRONG[:31], "needs at least 32 bytes"),
            ("a" * 64, "can be guessed"),
            ("secretsecretsecretsecretsecretsecret", "can be guessed"),
            ("ChangeMe-0123456789-0123456789-abcdef", "can be guessed"),
        ],
    )
    def test_a_weak_one_is_refused_and_never_repeated(self, secret, problem):
        said = refusal(**{**GIVEN, "jwt_secret": secret})
        assert said == f"SHOP_JWT_SECRET: is weak: {problem} (for example: the output of: openssl rand -hex 32)"

    def test_a_weak_one_among_the_previous_ones_is_refused_and_never_repeated(self):
        assert load(jwt_previous_secrets=f"{STRONG}, x{STRONG}").jwt_previous_secrets[1] == SecretStr("x" + STRONG)
        said = refusal(jwt_previous_secrets=f"{STRONG},{STRONG[:31]}")
        assert said.startswith("SHOP_JWT_PREVIOUS_SECRETS: is weak: needs at least 32 bytes (for example: ")
        assert STRONG[:31] not in said

    def test_nothing_that_is_secret_shows_in_a_printed_setting(self):
        password = "a long password of my own"
        settings = load(**GIVEN, jwt_previous_secrets=STRONG, admin_username="owner", admin_password=password)
        shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
        assert not any(secret in shown for secret in (STRONG, password, "//db", "//cache"))


class TestWrongValues:
    @pytest.mark.parametrize(
        ("name", "value", "example"),
        [
            ("port", "http", "4000"),
            ("port", 65_536, "4000"),
            ("port", -1, "4000"),
            ("mongo_url", "localhost:27017", "mongodb://user:password@db:27017"),
            ("mongo_url", "http://hunter2@localhost", "mongodb://user:password@db:27017"),
            ("mongo_url", " mongodb://localhost", "mongodb://user:password@db:27017"),
            ("mongo_url", "mongodb://u:hunter2@a,b/?replicaSet=rs0&W=1", "mongodb://user:password@db:27017"),
            ("mongo_url", "mongodb://u:hunter2@a/?journal=false", "mongodb://user:password@db:27017"),
            ("mongo_url", "mongodb://u:hunter2@a/?readPreference=nearest", "mongodb://user:password@db:27017"),
            ("redis_url", "redis+sentinel://:hunter2@one:26379/", "redis://:password@cache:6379/0"),
            ("redis_url", "redis+cluster://:hunter2@one/3", "redis://:password@cache:6379/0"),
            ("redis_url", "localhost", "redis://:password@cache:6379/0"),
            ("redis_url", "mongodb://hunter2@localhost", "redis://:password@cache:6379/0"),
            ("mongo_driver", "mongoose", "pymongo"),
            ("mongo_db", "a/b", "shop"),
            ("mongo_db", "", "shop"),
            ("mongo_db", "x" * 39, "shop"),
            ("cors_origins", "shop.example", "https://shop.example"),
            ("cors_origins", "https://shop.example/", "https://shop.example"),
            ("cors_origins", "https://shop.example, *", "https://shop.example"),
            ("rate_limits", "maybe", "off"),
            ("log_level", "loud", "info"),
            ("log_format", "xml", "json"),
        ],
    )
    def test_names_the_setting_what_is_wrong_and_an_example(self, name, value, example):
        said = refusal(**{name: value})
        assert said.startswith(f"SHOP_{name.upper()}: ")
        assert f" (for example: {example}" in said
        assert len(said.splitlines()) == 1
        assert "hunter2" not in said

    @pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - TAKES_ANY_TEXT))
    def test_of_each_setting_are_told_with_its_example_and_never_repeated_if_secret(self, name):
        said = refusal(**{name: f"hunter2 {NONSENSE}"})
        line = next(line for line in said.splitlines() if line.startswith(f"SHOP_{name.upper()}: "))
        examples = Settings.model_fields[name].examples
        assert examples
        assert line.endswith(f" (for example: {examples[0]})")
        assert "SecretStr" not in str(Settings.model_fields[name].annotation) or "hunter2" not in said

    @pytest.mark.parametrize("given", [{"admin_username": "owner"}, {"admin_password": "a long one of my own"}])
    def test_half_a_first_admin_is_refused(self, given):
        said = refusal(**given)
        assert said.startswith("SHOP_ADMIN_PASSWORD: goes with SHOP_ADMIN_USERNAME: set both or neither")
        assert "of my own" not in said

    def test_all_of_them_are_told_together(self):
        said = refusal(port="x", log_level="loud", jwt_secret="weak")
        assert [line.split(":")[0] for line in said.splitlines()] == [
            "SHOP_PORT",
            "SHOP_JWT_SECRET",
            "SHOP_LOG_LEVEL",
        ]


class TestValues:
    @pytest.mark.parametrize(
        "url",
        [
            "mongodb://a,b,c/?replicaSet=rs0",
            "mongodb+srv://cluster.example/",
            "mongodb://u:p@a,b,c/?replicaSet=rs0&tls=true&w=majority&journal=true&readPreference=primary",
        ],
    )
    def test_addresses_of_mongodb(self, url):
        assert load(mongo_url=url).mongo_url == SecretStr(url)

    @pytest.mark.parametrize(
        "url",
        [
            *("redis://cache", "rediss://:p@cache:6380/1", "unix:///run/redis.sock"),
            *("redis+sentinel://:p@a:26379,b/shop/0?sentinel_password=q", "rediss+cluster://:p@a:6379,b:6379"),
        ],
    )
    def test_addresses_of_redis(self, url):
        assert load(redis_url=url).redis_url == SecretStr(url)

    @pytest.mark.parametrize(
        ("text", "origins"),
        [
            ("", []),
            (" , ", []),
            ("https://a.example", ["https://a.example"]),
            ("https://a.example, http://localhost:3000 ,", ["https://a.example", "http://localhost:3000"]),
        ],
    )
    def test_lists_are_separated_by_commas(self, text, origins):
        assert load(cors_origins=text).cors_origins == origins

    def test_what_is_not_overridden_keeps_its_default(self):
        assert load(port=None, host="0.0.0.0").port == Settings.model_fields["port"].default
        assert load(port=None, host="0.0.0.0").host == "0.0.0.0"

    def test_every_setting_has_a_description_and_an_example(self):
        for name, field in Settings.model_fields.items():
            assert field.description, name
            assert field.examples, name


class TestEnvironment:
    def seen(self, **environment: str) -> dict[str, object]:
        """The settings and warnings of a process with this environment."""
        code = """if True:
            import json
            from shop_api.settings import load, unknown_variables
            settings = load()
            print(json.dumps({
                "port": settings.port, "origins": settings.cors_origins, "secret": settings.jwt_secret is not None,
                "mongo": settings.mongo_url is not None, "warnings": unknown_variables(),
            }))
        """
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("SHOP_")}
        env = {**inherited, **environment}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def test_is_read_with_the_prefix_in_any_case(self):
        seen = self.seen(SHOP_PORT="1234", shop_cors_origins="https://a.example", PORT="1", JWT_SECRET="x")
        assert (seen["port"], seen["origins"], seen["secret"]) == (1234, ["https://a.example"], False)
        assert seen["warnings"] == []

    def test_an_empty_variable_is_an_absent_one(self):
        """Compose files pass on what is not set as empty."""
        seen = self.seen(SHOP_PORT="", SHOP_MONGO_URL="", SHOP_JWT_SECRET="", SHOP_ADMIN_USERNAME="")
        assert (seen["port"], seen["mongo"], seen["secret"]) == (4000, False, False)

    def test_what_is_no_setting_is_a_warning_with_the_nearest_name(self):
        seen = self.seen(SHOP_JWT_SECRETS="x", SHOP_TRUSTED_PROXY="x", SHOP_ZZZ="x", SHOP_TEST_MONGO_URL="x")
        assert seen["warnings"] == [
            "SHOP_JWT_SECRETS is not a setting; did you mean SHOP_JWT_SECRET?",
            "SHOP_TRUSTED_PROXY is not a setting; did you mean SHOP_TRUSTED_PROXIES?",
            "SHOP_ZZZ is not a setting",
        ]
