"""Decimals on the wire are plain: what else Python takes for a number is refused."""

from decimal import Decimal
from typing import Any

import pytest
from rest_framework import serializers

from apps.kernel.http.fields import DecimalStringField


@pytest.mark.parametrize("text", ["0", "12.50", "-0.000002", "007", "1000000000000000", "0.100"])
def test_plain_decimals_are_read(text: str) -> None:
    assert DecimalStringField().run_validation(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        "\uff11\uff12",
        "\u0661",
        "1e2",
        "1E-7",
        " 1",
        "1\n",
        "+1",
        ".5",
        "5.",
        "1,5",
        "--1",
        "",
        "-",
        "NaN",
        "Infinity",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    for field in (DecimalStringField(), DecimalStringField(accept_number=True)):
        with pytest.raises(serializers.ValidationError) as refused:
            field.run_validation(text)
        assert refused.value.get_codes() == ["invalid"]


@pytest.mark.parametrize("number", [7, Decimal("2.5"), Decimal("1E+2")])
def test_numbers_are_read_where_the_wire_allows_them(number: Any) -> None:
    assert DecimalStringField(accept_number=True).run_validation(number) == number
    with pytest.raises(serializers.ValidationError):
        DecimalStringField().run_validation(number)
