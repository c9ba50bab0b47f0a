"""Exact money: minor units, rounding once, splitting without loss, and figures for people."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from functools import cache, reduce

# Wide enough for a 38-digit column times a quantity; the process-wide context is never relied on.
EXACT = Context(prec=80)
# Of amounts as they are kept, which is what nearly all splits go by.
WEIGHT_PLACES = 9

_TWO_DIGITS = [
    "AED",
    "AFN",
    "ALL",
    "AMD",
    "ANG",
    "AOA",
    "ARS",
    "AUD",
    "AWG",
    "AZN",
    "BAM",
    "BBD",
    "BDT",
    "BGN",
    "BMD",
    "BND",
    "BOB",
    "BRL",
    "BSD",
    "BTN",
    "BWP",
    "BYN",
    "BZD",
    "CAD",
    "CDF",
    "CHF",
    "CNY",
    "COP",
    "CRC",
    "CUP",
    "CVE",
    "CZK",
    "DKK",
    "DOP",
    "DZD",
    "EGP",
    "ERN",
    "ETB",
    "EUR",
    "FJD",
    "FKP",
    "GBP",
    "GEL",
    "GHS",
    "GIP",
    "GMD",
    "GTQ",
    "GYD",
    "HKD",
    "HNL",
    "HTG",
    "HUF",
    "IDR",
    "ILS",
    "INR",
    "IRR",
    "JMD",
    "KES",
    "KGS",
    "KHR",
    "KPW",
    "KYD",
    "KZT",
    "LAK",
    "LBP",
    "LKR",
    "LRD",
    "LSL",
    "MAD",
    "MDL",
    "MGA",
    "MKD",
    "MMK",
    "MNT",
    "MOP",
    "MRU",
    "MUR",
    "MVR",
    "MWK",
    "MXN",
    "MYR",
    "MZN",
    "NAD",
    "NGN",
    "NIO",
    "NOK",
    "NPR",
    "NZD",
    "PAB",
    "PEN",
    "PGK",
    "PHP",
    "PKR",
    "PLN",
    "QAR",
    "RON",
    "RSD",
    "RUB",
    "SAR",
    "SBD",
    "SCR",
    "SDG",
    "SEK",
    "SGD",
    "SHP",
    "SLE",
    "SOS",
    "SRD",
    "SSP",
    "STN",
    "SVC",
    "SYP",
    "SZL",
    "THB",
    "TJS",
    "TMT",
    "TOP",
    "TRY",
    "TTD",
    "TWD",
    "TZS",
    "UAH",
    "USD",
    "UYU",
    "UZS",
    "VED",
    "VES",
    "WST",
    "XCD",
    "YER",
    "ZAR",
    "ZMW",
    "ZWG",
]
_DIGITS: dict[str, int] = {
    **dict.fromkeys(_TWO_DIGITS, 2),
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CNY": "CN¥", "INR": "₹", "KRW": "₩"}


def is_currency(code: str) -> bool:
    """Whether a code is a circulating currency of ISO 4217."""
    return code in _DIGITS


def minor_digits(currency: str) -> int:
    """Give how many decimal places a currency's minor unit has: JPY 0, USD 2, BHD 3."""
    return _DIGITS.get(currency, 2)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round to the minor unit, halves away from zero. A line is rounded so once, where it is made."""
    return round_to(amount, minor_digits(currency))


def round_to(amount: Decimal, digits: int) -> Decimal:
    """Round to a number of decimal places, halves away from zero."""
    return amount.quantize(_unit(digits), rounding=ROUND_HALF_UP, context=EXACT)


@cache
def _unit(digits: int) -> Decimal:
    return Decimal(1).scaleb(-digits)


def allocate(total: Decimal, weights: Sequence[Decimal | int], *, digits: int) -> list[Decimal]:
    """Split an amount by weights so that the parts sum to it exactly.

    Args:
        total: what is split; a multiple of 10^-digits.
        weights: not negative, not all zero; zero weights get nothing unless all are zero, then the first takes all.
        digits: decimal places of the parts.

    Returns:
        One part per weight, same order; the largest remainders get the last units, the earlier first.
    """
    if not weights:
        raise ValueError("allocate needs at least one weight")
    shares = [Decimal(weight) for weight in weights]
    whole = sum(shares, Decimal(0))
    if whole == 0:
        return [total] + [Decimal(0)] * (len(shares) - 1)
    unit = Decimal(1).scaleb(-digits)
    units = EXACT.divide(total, unit).to_integral_exact()
    scaled = _as_integers(shares)
    if scaled is not None and units > 0:
        return [EXACT.multiply(Decimal(part), unit) for part in _allocated(int(units), scaled)]
    exact = [EXACT.divide(EXACT.multiply(units, share), whole) for share in shares]
    parts = [value.to_integral_value(rounding=ROUND_DOWN) for value in exact]
    left = int(units - sum(parts, Decimal(0)))
    step = 1 if left >= 0 else -1
    by_remainder = sorted(range(len(parts)), key=lambda i: (-abs(exact[i] - parts[i]), i))
    for index in by_remainder[: abs(left)]:
        parts[index] += step
    return [EXACT.multiply(part, unit) for part in parts]


def _as_integers(weights: Sequence[Decimal]) -> list[int] | None:
    """Give weights as whole numbers that stand in the same ratio; None where they are too fine, or negative."""
    found = [int(EXACT.scaleb(weight, WEIGHT_PLACES)) for weight in weights]
    # What was cut off is missing in the sum, since no weight makes up for another.
    is_exact = sum(found) == EXACT.scaleb(reduce(EXACT.add, weights), WEIGHT_PLACES)
    return found if is_exact and min(found) >= 0 else None


def _allocated(units: int, weights: Sequence[int]) -> list[int]:
    """Split a number above 0 as `allocate` does, in whole numbers, which take a fifth of the time."""
    whole = sum(weights)
    split = [divmod(units * weight, whole) for weight in weights]
    parts = [part for part, _ in split]
    left = units - sum(parts)
    if left:
        # Stable both ways round: of equal remainders the earlier come first.
        for index in sorted(range(len(split)), key=[rest for _, rest in split].__getitem__, reverse=True)[:left]:
            parts[index] += 1
    return parts


def format_decimal(value: Decimal) -> str:
    """Write a decimal plainly: no exponent, no trailing zeros, no negative zero."""
    if not value:
        return "0"
    # Few have an exponent in their text, which takes half the time of `format`.
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_amount(amount: Decimal, currency: str) -> str:
    """Write money for machines: at least the minor digits, more only if the amount has them."""
    digits = minor_digits(currency)
    text = format_decimal(amount)
    places = len(text.partition(".")[2])
    return text if places > digits else format(Decimal(text), f".{digits}f")


def format_unit_price(price: Decimal, currency: str) -> str:
    """Write what one unit costs for people: every digit it has, at least the minor ones: "$0.000002"."""
    return _with_currency(f"{Decimal(format_amount(abs(price), currency)):,f}", currency, is_negative=price < 0)


def format_money(amount: Decimal, currency: str) -> str:
    """Write money for people: sign, thousands, minor digits, a true minus: "−$1,234.50"."""
    rounded = round_money(amount, currency)
    figure = f"{abs(rounded):,.{minor_digits(currency)}f}"
    return _with_currency(figure, currency, is_negative=rounded < 0)


def _with_currency(figure: str, currency: str, *, is_negative: bool) -> str:
    sign = _SIGNS.get(currency)
    shown = f"{sign}{figure}" if sign else f"{figure} {currency}"
    return f"\N{MINUS SIGN}{shown}" if is_negative else shown
