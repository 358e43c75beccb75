"""Money as an integer of minor units and an ISO 4217 code; never a float."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import iso4217
from pydantic import AfterValidator, Field

from shop_api.schema import Schema

MAX_AMOUNT = 10**12

# Codes without an exponent (gold, test codes, special drawing rights) cannot be a price.
EXPONENTS: dict[str, int] = {c.code: c.exponent for c in iso4217.Currency if c.exponent is not None}


def _known(code: str) -> str:
    if code not in EXPONENTS:
        raise ValueError("not an ISO 4217 currency code in upper case")
    return code


Currency = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="ISO 4217 code.",
        examples=["INR"],
        json_schema_extra={"enum": list[object](sorted(EXPONENTS))},
    ),
]


class Money(Schema):
    """An amount in the minor unit of its currency: `{"amount": 2500, "currency": "INR"}` is 25 rupees."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, examples=[2500])]
    """Minor units: paise, cents; for a currency without them, such as JPY, whole units."""
    currency: Currency


def minor_units(decimal: str, currency: str) -> int:
    """The amount of a decimal price such as `"9.99"` in minor units of `currency`, exactly.

    Raises ValueError when it is no plain decimal number, or has more places than the currency knows.
    """
    try:
        value = Decimal(decimal)
    except InvalidOperation:
        raise ValueError(f"{decimal!r} is not a decimal number") from None
    if not value.is_finite() or value.adjusted() > 15:
        raise ValueError(f"{decimal!r} is not a price")
    scaled = value.scaleb(EXPONENTS[_known(currency)])
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{decimal} has more decimal places than {currency} knows ({EXPONENTS[currency]})")
    return int(scaled)
