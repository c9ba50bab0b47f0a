"""What was decided about the tax of a line, as lines keep it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from apps.kernel.money import format_decimal
from apps.taxes.domain.rules import COMMUNITY, EXEMPT, EXPORT, OUTSIDE, REVERSE

NOTHING = Decimal(0)
REASON_CODES = {REVERSE: "VATEX-EU-AE", COMMUNITY: "VATEX-EU-IC", EXPORT: "VATEX-EU-G", OUTSIDE: "VATEX-EU-O"}
REASONS = {
    EXEMPT: "Exempt from VAT",
    REVERSE: "Reverse charge",
    COMMUNITY: "Intra-community supply",
    EXPORT: "Export outside the EU",
    OUTSIDE: "Not subject to VAT",
}


@dataclass(frozen=True, slots=True)
class Component:
    """One of the taxes of a line: percent of its amount without tax."""

    name: str
    jurisdiction: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Treatment:
    """What was decided about a line's tax.

    Attributes:
        category: EN 16931's code; empty where nobody said why there is no tax.
        basis: the rule that decided, as a word.
        jurisdiction: whose tax it is, or would be: a country, or a region of it.
        components: taxes that are added up; empty where nothing is owed.
        reason: the decision in words; of a line without tax, what documents quote.
        reason_code: EN 16931's code of the reason, where there is one.
        buyer_tax_id: the customer's, where it decided.
        seller_tax_id: of the registration that it was decided by.
    """

    category: str
    basis: str
    jurisdiction: str
    components: tuple[Component, ...]
    reason: str
    reason_code: str = ""
    buyer_tax_id: str = ""
    seller_tax_id: str = ""

    @property
    def rate(self) -> Decimal:
        """Percent of all its taxes."""
        return sum((one.percent for one in self.components), NOTHING)

    @property
    def percents(self) -> tuple[Decimal, ...]:
        return tuple(one.percent for one in self.components)

    def as_facts(self) -> dict[str, Any]:
        """Give it as it is kept."""
        return {
            "category": self.category,
            "basis": self.basis,
            "jurisdiction": self.jurisdiction,
            "components": [
                {"name": one.name, "jurisdiction": one.jurisdiction, "percent": format_decimal(one.percent)}
                for one in self.components
            ],
            "reason": self.reason,
            "reason_code": self.reason_code,
            "buyer_tax_id": self.buyer_tax_id,
            "seller_tax_id": self.seller_tax_id,
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        components = tuple(
            Component(one["name"], one["jurisdiction"], Decimal(one["percent"])) for one in facts["components"]
        )
        return cls(**{**facts, "components": components})

    @property
    def digest(self) -> str:
        text = json.dumps(self.as_facts(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
