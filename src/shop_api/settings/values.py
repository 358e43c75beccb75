"""Types of settings. Each rejects values that would only fail later."""

from collections.abc import Callable
from importlib import metadata
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from shop_api.settings import mongo_url, redis_url, smtp_url

MIN_SECRET_BYTES = 32


def _strong(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if len(value.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"is weak: needs at least {MIN_SECRET_BYTES} bytes")
    if len(set(value)) < 10 or "change" in value.lower():
        raise ValueError("is weak: can be guessed")
    return secret


def _all_strong(secrets: list[SecretStr]) -> list[SecretStr]:
    return [_strong(secret) for secret in secrets]


def _exportable(endpoint: str) -> str:
    """Reject an endpoint if the packages for tracing are not installed."""
    _check_scheme(endpoint, ("http://", "https://"))
    try:
        metadata.distribution("opentelemetry-exporter-otlp-proto-http")
    except metadata.PackageNotFoundError:
        raise ValueError("needs packages that are not installed; run: pip install 'shop-api[otel]'") from None
    return endpoint


def _url(schemes: tuple[str, ...], check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that checks the scheme and calls `check`. The driver parses the rest of the URL."""

    def validate(url: SecretStr) -> SecretStr:
        _check_scheme(url.get_secret_value(), schemes)
        check(url.get_secret_value())
        return url

    return AfterValidator(validate)


def _check_scheme(url: str, schemes: tuple[str, ...]) -> None:
    if not url.startswith(schemes):
        raise ValueError(f"must begin with {' or '.join(schemes)}")


def _check_smtp(url: str) -> None:
    if url != smtp_url.TO_LOG:
        smtp_url.parse(url)


StrongSecret = Annotated[SecretStr, AfterValidator(_strong)]
StrongSecrets = Annotated[list[SecretStr], AfterValidator(_all_strong)]
MongoUrl = Annotated[SecretStr, _url(mongo_url.SCHEMES, mongo_url.check)]
RedisUrl = Annotated[SecretStr, _url(redis_url.SCHEMES, redis_url.parse)]
SmtpUrl = Annotated[SecretStr, _url(smtp_url.SCHEMES, _check_smtp)]
OtlpEndpoint = Annotated[str, AfterValidator(_exportable)]
