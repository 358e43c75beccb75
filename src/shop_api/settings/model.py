"""The settings, read from environment variables with the prefix `SHOP_`. Nothing else reads the environment."""

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
    """A setting is invalid or missing. The message names the setting and the problem, and gives an example."""


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
    """The URL of a MongoDB replica set. Its options (TLS, time-outs, concerns) apply, but `w`, `journal` and
    `readPreference` must be `majority`, `true` and `primary`. If unset, the embedded MongoDB is started."""
    mongo_db: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,38}$"), _example("shop")] = "shop"
    """The name of the database."""
    mongo_driver: Annotated[Literal["motor", "pymongo"], _example("pymongo")] = "motor"
    """The MongoDB driver: Motor, or PyMongo's own asyncio client."""
    auto_migrate: Annotated[Literal["on", "off"], _example("on")] = "off"
    """Whether the service migrates a database with an older schema at start. With `off` it refuses to start; run
    `shop-api migrate`. Always `on` with the embedded MongoDB."""
    redis_url: Annotated[RedisUrl | None, _example("redis://:password@cache:6379/0")] = None
    """The URL of Redis; for `redis+sentinel://` and `redis+cluster://` see operations.md. If unset, `shop-api serve`
    starts the embedded Redis."""
    redis_guards_url: Annotated[RedisUrl | None, _example("redis://:password@guards:6379/0")] = None
    """The URL of the Redis that counts failed sign-ins and rate limits. It should evict nothing (`noeviction`), so
    that no traffic can reset its counters. If unset, `SHOP_REDIS_URL` is used for them too."""
    data_dir: Annotated[Path, _example("/var/lib/shop")] = Path(".shop-data")
    """The data folder of the embedded engines and of the secret generated for them."""
    host: Annotated[str, _example("0.0.0.0")] = "127.0.0.1"  # noqa: S104  # nosec B104
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535), _example("4000")] = 4000
    """The port to listen on."""
    jwt_secret: Annotated[StrongSecret | None, _example("the output of: openssl rand -hex 32")] = None
    """Signs tokens and cursors; must be the same on all instances. Required unless MongoDB is embedded."""
    jwt_previous_secrets: Annotated[StrongSecrets, NoDecode, _example("the SHOP_JWT_SECRET before this one")] = []
    """Other secrets whose tokens are accepted, comma-separated: to rotate `SHOP_JWT_SECRET` without sign-outs."""
    jwt_keys_dir: Annotated[Path | None, _example("/run/secrets/shop-keys")] = None
    """A folder of private keys created by `shop-api keys rotate`. They sign access tokens instead of the secret."""
    backup_key: Annotated[StrongSecret | None, _example("the output of: openssl rand -hex 32")] = None
    """Authenticates backups: `shop-api restore` accepts only archives made with this key. Without it, archives have a
    checksum only, and anyone who can change one decides what a restore brings back."""
    admin_username: Annotated[str | None, _example("owner")] = None
    """Username of the first admin, created at start if no user has this name."""
    admin_password: Annotated[
        SecretStr | None, Field(validate_default=True), _example("a long password of your own")
    ] = None
    """Password of the first admin; ignored once the user exists."""
    cors_origins: Annotated[list[str], NoDecode, _example("https://shop.example,https://admin.shop.example")] = []
    """Origins whose pages may call this API from a browser (CORS), comma-separated."""
    trusted_proxies: Annotated[list[str], NoDecode, _example("10.0.0.0/8")] = []
    """Addresses or networks of proxies whose X-Forwarded-For is trusted, comma-separated."""
    smtp_url: Annotated[SmtpUrl | None, _example("smtp://user:password@mail.example:587")] = None
    """The SMTP server for outgoing email; `log:` writes email to the log instead, as the embedded mode does. If
    unset, no email is sent."""
    mail_from: Annotated[
        str | None, Field(validate_default=True, pattern=r"^[^\x00-\x1f\x7f]+$"), _example("Shop <shop@shop.example>")
    ] = None
    """The sender of email; required with an SMTP server."""
    public_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$"), _example("https://api.shop.example")] = (
        "http://localhost:4000"
    )
    """The public URL of this API, used in emails."""
    front_end_url: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$"), _example("https://shop.example")] = None
    """URL of a shop front end: emails link to its `verify-email` and `reset-password` pages, with `#token=…`."""
    rate_limits: Annotated[Literal["on", "off"], _example("off")] = "on"
    """Rate limits on sign-in and registration; `off` is for load tests."""
    cache: Annotated[Literal["on", "off"], _example("off")] = "on"
    """The HTTP cache of public reads, in memory and in Redis."""
    cache_memory_mib: Annotated[int, Field(ge=1, le=65536), _example("256")] = 64
    """Size of the in-memory tier of the cache on each instance, in MiB."""
    log_format: Annotated[Literal["auto", "json", "console"], _example("json")] = "auto"
    """`auto` is `console` on a terminal, else `json`."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _example("info")] = "info"
    """The lowest level that is logged."""
    log_hits_every: Annotated[int, Field(ge=1), _example("1")] = 100
    """Log one in this many of: requests answered from the in-memory cache, successful health checks, and requests
    rejected as `overloaded`. All other requests are always logged."""
    otlp_endpoint: Annotated[OtlpEndpoint | None, _example("http://collector:4318")] = None
    """The OTLP/HTTP collector that traces are sent to. If unset, there are no traces. Needs the extra `otel`."""
    trace_ratio: Annotated[float, Field(ge=0, le=1), _example("0.01")] = 1.0
    """Share of requests to trace (1 is all) where `traceparent` does not decide it."""
    max_requests: Annotated[int, Field(ge=1), _example("128")] = 256
    """Maximum number of requests in flight on an instance; further requests are rejected immediately (503). Cache
    hits, requests that wait for another request's cache fill, and health checks do not count."""
    drain_seconds: Annotated[int, Field(ge=0, le=300), _example("5")] = 0
    """Seconds for which a stopping instance still answers but is not ready: long enough for a load balancer to
    notice."""

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
                raise ValueError(f"{proxy!r} is neither an address nor a network") from None
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
        if (password is None) != (info.data["admin_username"] is None):  # otherwise silently creates no admin
            raise ValueError(f"goes with {PREFIX}ADMIN_USERNAME: set both or neither")
        return password

    @property
    def guards_url(self) -> SecretStr | None:
        """The URL of the Redis that counts failed sign-ins and rate limits."""
        return self.redis_guards_url or self.redis_url

    def required(self) -> tuple[str, str, bytes]:
        """Return the MongoDB URL, the Redis URL and the secret. Raise SettingsError if one is missing."""
        needed = {"mongo_url": self.mongo_url, "redis_url": self.redis_url, "jwt_secret": self.jwt_secret}
        missing = [describe(name, "is missing") for name, value in needed.items() if value is None]
        if missing:
            raise SettingsError("\n".join(missing))
        mongo_url, redis_url, secret = (value.get_secret_value() for value in needed.values() if value)
        return mongo_url, redis_url, secret.encode()


def describe(name: str, problem: str) -> str:
    examples = Settings.model_fields[name].examples or [""]
    return f"{PREFIX}{name.upper()}: {problem} (for example: {examples[0]})"
