"""Money in minor units."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shop_api.kernel.money import EXPONENTS, MAX_AMOUNT, Money, minor_units


class TestMoney:
    @pytest.mark.parametrize("amount", [0, 1, MAX_AMOUNT])
    def test_holds_an_amount_of_minor_units(self, amount):
        assert Money(amount=amount, currency="INR").amount == amount

    @pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1, 1.0, 1.5, "1", True, None, float("nan")])
    def test_refuses_other_amounts(self, amount):
        with pytest.raises(ValidationError):
            Money(amount=amount, currency="INR")

    @pytest.mark.parametrize("currency", ["inr", "IN", "INRR", "", "ABC", "XAU", "XTS", "XXX", "XDR", None, 356])
    def test_refuses_what_is_no_currency_one_can_pay_in(self, currency):
        with pytest.raises(ValidationError):
            Money(amount=1, currency=currency)

    @pytest.mark.parametrize(("currency", "exponent"), [("INR", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
    def test_knows_the_minor_unit_of_each_currency(self, currency, exponent):
        assert EXPONENTS[currency] == exponent


class TestMinorUnits:
    @pytest.mark.parametrize(
        ("decimal", "currency", "amount"),
        [
            ("9.99", "INR", 999),
            ("9.9", "INR", 990),
            ("9", "INR", 900),
            ("0.07", "EUR", 7),
            ("0", "EUR", 0),
            ("007", "EUR", 700),
            ("9.9900", "EUR", 999),
            ("1200", "JPY", 1200),
            ("1200.00", "JPY", 1200),
            ("1.234", "KWD", 1234),
            ("10000000000.00", "INR", MAX_AMOUNT),
            ("999999999999999.99", "INR", 99_999_999_999_999_999),
        ],
    )
    def test_a_decimal_price_becomes_minor_units_exactly(self, decimal, currency, amount):
        assert minor_units(decimal, currency) == amount

    @pytest.mark.parametrize(
        ("decimal", "currency"),
        [
            ("9.999", "INR"),
            ("1.500", "EUR"),
            ("1.000", "JPY"),
            ("0.1", "JPY"),
            ("1.2345", "KWD"),
            ("9.99000000000001", "INR"),
        ],
    )
    def test_more_places_than_the_currency_knows_are_refused(self, decimal, currency):
        with pytest.raises(ValueError, match=r"more decimal places|is ambiguous"):
            minor_units(decimal, currency)

    @pytest.mark.parametrize(
        "decimal",
        [
            *("", " ", ".", "1.", ".5", "-1", "+1", "1e3", "1E-2", "0e999999", "1_000", "1,000", " 1", "1\n"),
            *("NaN", "sNaN", "Infinity", "0x10", "１２", "٣", "1.2.3", "€1", "1" * 16, "1" * 1_000_000),
            "9.99" + "0" * 40 + "1",
        ],
    )
    def test_what_is_no_plain_price_is_refused_in_few_words(self, decimal):
        with pytest.raises(ValueError, match="is not a price") as refused:
            minor_units(decimal, "INR")
        assert len(str(refused.value)) < 100

    @pytest.mark.parametrize("currency", ["inr", "XAU", ""])
    def test_an_unknown_currency_is_refused(self, currency):
        with pytest.raises(ValueError, match="ISO 4217"):
            minor_units("1", currency)

    @settings(deadline=None)
    @given(st.integers(0, MAX_AMOUNT), st.sampled_from(sorted(EXPONENTS)))
    def test_every_amount_survives_being_written_as_a_decimal(self, amount, currency):
        assert minor_units(f"{Decimal(amount).scaleb(-EXPONENTS[currency]):f}", currency) == amount
