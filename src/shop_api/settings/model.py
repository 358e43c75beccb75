"""What the environment may set, each with the prefix `SHOP_`. The service reads the environment only here."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from shop_api.settings.secret_files import SecretFiles, Unusable
from shop_api.settings.smtp_url import TO_LOG, check_sender
from shop_api.settings.values import MongoUrl, OtlpEndpoint, RedisUrl, SmtpUrl, StrongSecret, StrongSecrets

PREFIX = "SHOP_"


class SettingsError(Exception):
    """A setting is wrong or missing; the message names it, says what is wrong and gives an example."""


def _example(example: str) -> Any:
    return Field(examples=[example])


class Settings(BaseSettings):
    """The whole configuration of one instance."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, use_attribute_docstrings=True, extra="ignore", env_ignore_empty=True
    )

    mongo_url: Annotated[
        MongoUrl | None, _example("mongodb://user:password@db:27017/?replicaSet=rs0&authSource=admin")
    ] = None
    """Where MongoDB is: a replica set. Its options (TLS, time-outs, concerns) are obeyed, but `w`, `journal` and
    `readPreference` have to stay `majority`, `true` and `primary`. Without it the embedded one is started."""
    mongo_db: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,38}$"), _example("shop")] = "shop"
    """The name of the database."""
    mongo_driver: Annotated[Literal["motor", "pymongo"], _example("pymongo")] = "motor"
    """Which driver speaks to MongoDB: Motor, or PyMongo's own asyncio client."""
    auto_migrate: Annotated[Literal["on", "off"], _example("on")] = "off"
    """Whether a start migrates a database of an older schema. `off` refuses it, and `shop-api migrate` does it. With
    the embedded MongoDB it is always `on`."""
    redis_url: Annotated[RedisUrl | None, _example("redis://:password@cache:6379/0")] = None
    """Where Redis is; by `redis+sentinel://` and `redis+cluster://` see operations.md. Without it `shop-api serve`
    starts the embedded one."""
    data_dir: Annotated[Path, _example("/var/lib/shop")] = Path(".shop-data")
    """The folder of the embedded engines and of the secret made for them."""
    host: Annotated[str, _example("0.0.0.0")] = "127.0.0.1"  # noqa: S104  # nosec B104
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535), _example("4000")] = 4000
    """The port to listen on."""
    jwt_secret: Annotated[StrongSecret | None, _example("the output of: openssl rand -hex 32")] = None
    """Signs tokens and cursors; the same on every instance. Required unless MongoDB is the embedded one."""
    jwt_previous_secrets: Annotated[StrongSecrets, NoDecode, _example("the SHOP_JWT_SECRET before this one")] = []
    """Secrets whose tokens are valid too, separated by commas: for changing `SHOP_JWT_SECRET` unnoticed."""
    jwt_keys_dir: Annotated[Path | None, _example("/run/secrets/shop-keys")] = None
    """A folder of private keys made by `shop-api keys rotate`: these sign tokens then, not the secret."""
    admin_username: Annotated[str | None, _example("owner")] = None
    """The first admin, created at start if there is no user of this name."""
    admin_password: Annotated[
        SecretStr | None, Field(validate_default=True), _example("a long password of your own")
    ] = None
    """The first admin's password; without effect once the user exists."""
    cors_origins: Annotated[list[str], NoDecode, _example("https://shop.example,https://admin.shop.example")] = []
    """Origins whose pages may call this API from a browser, separated by commas."""
    trusted_proxies: Annotated[list[str], NoDecode, _example("10.0.0.0/8")] = []
    """Addresses or networks whose X-Forwarded-For is believed, separated by commas."""
    smtp_url: Annotated[SmtpUrl | None, _example("smtp://user:password@mail.example:587")] = None
    """The server that mail goes through; `log:` prints it to the log instead, as the embedded mode does. Without it
    no mail is sent."""
    mail_from: Annotated[
        str | None, Field(validate_default=True, pattern=r"^[^\x00-\x1f\x7f]+$"), _example("Shop <shop@shop.example>")
    ] = None
    """The sender of mail; goes with `SHOP_SMTP_URL`."""
    public_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$"), _example("https://api.shop.example")] = (
        "http://localhost:4000"
    )
    """Where users reach this API, as mail tells them."""
    front_end_url: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$"), _example("https://shop.example")] = None
    """A shop's own pages: mail links to `verify-email` and `reset-password` there, with `#token=…`."""
    rate_limits: Annotated[Literal["on", "off"], _example("off")] = "on"
    """Limits on sign-in and registration; `off` is for load tests."""
    cache: Annotated[Literal["on", "off"], _example("off")] = "on"
    """The HTTP cache of public reads, in memory and in Redis."""
    cache_memory_mib: Annotated[int, Field(ge=1, le=65536), _example("256")] = 64
    """How much of its memory an instance may use for answers that are ready to send, in MiB."""
    log_format: Annotated[Literal["auto", "json", "console"], _example("json")] = "auto"
    """`auto` is `console` on a terminal, else `json`."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _example("info")] = "info"
    """The least severe level that is logged."""
    log_hits_every: Annotated[int, Field(ge=1), _example("1")] = 100
    """Of requests answered from the cache's memory, of health checks that found all well and of requests refused as
    `overloaded`, one in so many is logged; all others are, whatever this says."""
    otlp_endpoint: Annotated[OtlpEndpoint | None, _example("http://collector:4318")] = None
    """Where traces go: a collector that takes OTLP over HTTP. Without it there are none. Needs the extra `otel`."""
    trace_ratio: Annotated[float, Field(ge=0, le=1), _example("0.01")] = 1.0
    """Of requests whose caller has not decided it (`traceparent`), how many are traced: 1 is all of them."""
    max_requests: Annotated[int, Field(ge=1), _example("128")] = 256
    """How many requests an instance carries out at the same time; one more is refused at once (503). What the cache
    answers, and those who wait for the same answer as another, do not count, nor do health checks."""
    drain_seconds: Annotated[int, Field(ge=0, le=300), _example("5")] = 0
    """How long an instance that was told to stop goes on answering while it is not ready: long enough for a load
    balancer to notice."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretFiles(settings_cls), others["env_settings"]

    @field_validator("cors_origins", "trusted_proxies", "jwt_previous_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _usable(cls, value: object) -> object:
        if isinstance(value, Unusable):
            raise ValueError(value.problem)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origin(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise ValueError(f"{origin!r} is not an origin: scheme and host, no path")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _network(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(f"{proxy!r} is no address and no network") from None
        return proxies

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, sender: str | None, info: ValidationInfo) -> str | None:
        url: SecretStr | None = info.data.get("smtp_url")
        if sender is not None:
            check_sender(sender)
        elif url is not None and url.get_secret_value() != TO_LOG:
            raise ValueError(f"is missing: {PREFIX}SMTP_URL needs a sender")
        return sender

    @field_validator("admin_password")
    @classmethod
    def _together(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (password is None) != (info.data["admin_username"] is None):  # would make no admin, and say nothing
            raise ValueError(f"goes with {PREFIX}ADMIN_USERNAME: set both or neither")
        return password

    def required(self) -> tuple[str, str, bytes]:
        """The MongoDB URL, the Redis URL and the secret; SettingsError when one is missing."""
        needed = {"mongo_url": self.mongo_url, "redis_url": self.redis_url, "jwt_secret": self.jwt_secret}
        missing = [describe(name, "is missing") for name, value in needed.items() if value is None]
        if missing:
            raise SettingsError("\n".join(missing))
        mongo_url, redis_url, secret = (value.get_secret_value() for value in needed.values() if value)
        return mongo_url, redis_url, secret.encode()


def describe(name: str, problem: str) -> str:
    examples = Settings.model_fields[name].examples or [""]
    return f"{PREFIX}{name.upper()}: {problem} (for example: {examples[0]})"
