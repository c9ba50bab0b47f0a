"""Terms of rights: what a template gives, as a right writes it down."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from apps.catalog.domain.templates import OPEN_END, Template, read_template
from apps.catalog.models import Feature


def terms_of(feature: Feature, template: Mapping[str, Any] | None) -> Template:
    """Give the terms a price attaches a feature by; without a template nothing is limited.

    Raises:
        TemplateError: it cannot be read.
    """
    if template is None and feature.type == "metered":
        return OPEN_END
    if template is None and feature.type == "static":
        return Template(config={})
    return read_template(template or {}, kind=feature.type)


def metered_fields(terms: Template, *, anchor: datetime) -> dict[str, Any]:
    """Give what a right to a metered feature holds of its terms.

    Args:
        anchor: that resets count from where the terms leave it open.
    """
    return {
        "is_soft_limit": terms.is_soft,
        "allowance": terms.amount,
        "allowance_priority": terms.priority,
        "preserves_overage": terms.is_preserving,
        "rollover_min": terms.rollover_min,
        "rollover_max": terms.rollover_max,
        "reset_cadence": terms.cadence.iso if terms.cadence is not None else "",
        "reset_anchor": (terms.anchor or anchor) if terms.cadence is not None else None,
    }
