import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.kernel.money import format_decimal
from apps.kernel.text import find_unwritable, shows_something
from apps.kernel.time import format_instant, parse_instant

# Names and their like stand on one line; what may be longer is told in lines.
LONGEST_LINE = 255
# `Decimal` reads more than the wire means by a number: digits of all scripts, blanks, "1_000" and "1e2".
PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@extend_schema_field(OpenApiTypes.DATETIME)
class InstantField(serializers.Field[Any, Any, Any, Any]):
    """An ISO 8601 instant; without an offset it is UTC."""

    default_error_messages = {"invalid": "Give an ISO 8601 instant, such as 2026-01-31T12:00:00Z."}

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str) or len(data) > 40:
            self.fail("invalid")
        try:
            instant = parse_instant(data)
        except (ValueError, OverflowError):
            self.fail("invalid")
        # Outside of this the calendar arithmetic of a billing period could overflow.
        if not 1970 <= instant.year <= 9000:
            self.fail("invalid")
        return instant.astimezone(UTC)

    def to_representation(self, value: datetime) -> str:
        return format_instant(value)


class TimeZoneField(serializers.CharField):
    """The IANA name of a time zone."""

    default_error_messages = {"invalid": "Give the IANA name of a time zone, such as Europe/Paris."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in time_zones():
            self.fail("invalid")
        return data


@cache
def time_zones() -> frozenset[str]:
    """Give the names of all time zones that can be computed with."""
    return frozenset(available_timezones())


class DecimalStringField(serializers.Field[Any, Any, Any, Any]):
    """An exact decimal sent as a string, such as "0.000002"."""

    default_error_messages = {
        "invalid": 'Give a decimal number as a string, such as "12.50".',
        "out_of_range": "Give a number from {low} to {high} with at most {places} decimal places.",
    }

    def __init__(
        self,
        *,
        places: int = 15,
        low: Decimal = Decimal("-1e15"),
        high: Decimal = Decimal("1e15"),
        accept_number: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.places, self.low, self.high, self.accept_number = places, low, high, accept_number

    def to_internal_value(self, data: Any) -> Decimal:
        is_number = isinstance(data, int | Decimal) and not isinstance(data, bool)
        is_text = isinstance(data, str) and len(data) <= 60 and PLAIN_DECIMAL.fullmatch(data)
        if not is_text and not (self.accept_number and is_number):
            self.fail("invalid")
        value = Decimal(data)
        if not value.is_finite():
            self.fail("invalid")
        exponent = value.normalize().as_tuple().exponent
        if not self.low <= value <= self.high or (isinstance(exponent, int) and -exponent > self.places):
            self.fail("out_of_range", low=self.low, high=self.high, places=self.places)
        return value

    def to_representation(self, value: Decimal) -> str:
        return format_decimal(value)


class MatchedCharField(serializers.CharField):
    """A string that must be one on the wire: numbers and booleans are refused, NUL too.

    By itself it is for what is only compared with what events brought, of whatever characters.
    """

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class StrictCharField(MatchedCharField):
    """A string of characters that documents can print: it may end up on one.

    Only text long enough for lines may have line ends and tabs. What shows nothing at all is blank.
    """

    default_error_messages = {"unwritable": "Text must not contain the control character {sign}."}

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if sign := find_unwritable(text, has_lines=(self.max_length or 0) > LONGEST_LINE):
            self.fail("unwritable", sign=sign)
        if not shows_something(text):
            if not self.allow_blank:
                self.fail("blank")
            return ""
        return text


@extend_schema_field({"type": "string", "nullable": True})
class AbsentField(serializers.Field[Any, Any, Any, Any]):
    """The id of a kind of thing that no merchant has.

    What is named cannot be found; ignoring it would bill by other terms than the caller meant.
    """

    default_error_messages = {"not_found": "There is no {noun} {id}; leave it out or send null."}

    def __init__(self, noun: str, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, **kwargs)
        self.noun = noun

    def to_internal_value(self, data: Any) -> None:
        self.fail("not_found", noun=self.noun, id=str(data)[:64])

    def to_representation(self, value: Any) -> None:
        return None


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class StringMapField(serializers.Field[Any, Any, Any, Any]):
    """An object whose values are strings."""

    default_error_messages = {
        "invalid": "Give an object whose values are strings.",
        "too_long": "At most {entries} entries of {length} characters.",
        "unwritable": "Text must not contain the control character {sign}.",
    }
    entries, length = 50, 500

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
            self.fail("invalid")
        if len(data) > self.entries or any(len(k) > 100 or len(v) > self.length for k, v in data.items()):
            self.fail("too_long", entries=self.entries, length=self.length)
        for text in (*data, *data.values()):
            if sign := find_unwritable(text, has_lines=True):
                self.fail("unwritable", sign=sign)
        return dict(data)

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return dict(value)


class AddressSerializer(serializers.Serializer[Any]):
    """A postal address as it stands on invoices."""

    line1 = StrictCharField(max_length=255, required=False, allow_blank=True)
    line2 = StrictCharField(max_length=255, required=False, allow_blank=True)
    city = StrictCharField(max_length=255, required=False, allow_blank=True)
    state = StrictCharField(max_length=100, required=False, allow_blank=True)
    country = StrictCharField(max_length=2, required=False, allow_blank=True)
    zipCode = StrictCharField(max_length=20, required=False, allow_blank=True)


THRESHOLDS = {
    "type": "object",
    "properties": {
        "amounts": {"type": "array", "items": {"type": "string"}},
        "every": {"type": "string", "nullable": True},
        "scope": {"type": "string", "enum": ["period", "lifetime"]},
    },
}


@extend_schema_field(THRESHOLDS)
class ThresholdsField(serializers.Field[Any, Any, Any, Any]):
    """Amounts at which usage is billed early; what they may be depends on the plan's currency."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value
