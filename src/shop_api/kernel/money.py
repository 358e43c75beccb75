"""Money as an integer of minor units and an ISO 4217 code; never a float."""

import re
from typing import Annotated

import iso4217
from pydantic import AfterValidator, Field

from shop_api.kernel.schema import Schema

MAX_AMOUNT = 10**12
_PLAIN_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")

_PLACES_OF_THOUSANDS = 3

# Codes without an exponent (gold, test codes, special drawing rights) cannot be a price.
EXPONENTS: dict[str, int] = {c.code: c.exponent for c in iso4217.Currency if c.exponent is not None}


def _known(code: str) -> str:
    if code not in EXPONENTS:
        raise ValueError("Give an ISO 4217 currency code in upper case, such as INR")
    return code


# The list of codes bounds the length: a longer text gets the same clear message.
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
    """Convert a decimal price such as `"9.99"` to minor units of `currency`, exactly.

    Raises ValueError if it is not a plain decimal number, has more decimal places than the currency, or has exactly
    three that may mean thousands: `"1.500"` euros are 1.50 in some countries and 1500 in others.
    """
    if not _PLAIN_DECIMAL.fullmatch(decimal):
        raise ValueError(f"{decimal[:40]!r} is not a price such as '9.99'")
    places = EXPONENTS[_known(currency)]
    whole, _, fraction = decimal.partition(".")
    if len(fraction) == _PLACES_OF_THOUSANDS > places:
        raise ValueError(f"{decimal} is ambiguous: write it with {places} decimal places")
    if len(fraction.rstrip("0")) > places:
        raise ValueError(f"{decimal} has more decimal places than {currency} knows ({places})")
    return int(whole + fraction[:places].ljust(places, "0"))
