"""One side of a document, as plain data that can be kept."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True)
class Party:
    """A merchant or a customer as a document names it.

    Attributes:
        name: the legal name where there is one.
        tax_id: a merchant's VAT id; a customer's tax id.
        logo: digest of the picture, or empty.
        timezone: a merchant's, in which the day of issue counts.
        reference: what a customer wants to find on its bills.
        zero_tax_reason: why a customer's lines carry no tax where they carry none: a code, or empty.
    """

    name: str
    line1: str = ""
    line2: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""
    email: str = ""
    phone: str = ""
    tax_id: str = ""
    registration_number: str = ""
    iban: str = ""
    bic: str = ""
    logo: str = ""
    timezone: str = "UTC"
    reference: str = ""
    zero_tax_reason: str = ""
    zero_tax_note: str = ""

    def as_facts(self) -> dict[str, str]:
        """Give the filled fields."""
        return {name: value for name in NAMES if (value := getattr(self, name))}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Read kept facts; names that are unknown here are passed over."""
        return cls(**{"name": "", **{name: str(value) for name, value in facts.items() if name in NAMES}})

    @property
    def digest(self) -> str:
        said = {name: value for name, value in zip(_SORTED, _VALUES(self), strict=True) if value}
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


NAMES = tuple(field.name for field in fields(Party))
_SORTED = sorted(NAMES)
_VALUES: Callable[[Party], tuple[str, ...]] = attrgetter(*_SORTED)
