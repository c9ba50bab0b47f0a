"""How figures, moments and neighbours look in lists."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.kernel.money import format_decimal, format_money, format_unit_price

BRIEF = 200


def money(amount: Decimal, currency: str) -> SafeString:
    """Show money right-aligned with equal-width digits."""
    return format_html('<span class="mg-figure">{}</span>', format_money(amount, currency))


def unit_price(price: Decimal, currency: str) -> SafeString:
    """Show what one unit costs, right-aligned with equal-width digits."""
    return format_html('<span class="mg-figure">{}</span>', format_unit_price(price, currency))


def figure(value: Decimal | None) -> str:
    """Give a quantity for people, within a text: thousands parted, a true minus, no needless zeros."""
    if value is None:
        return "—"
    whole, _, fraction = format_decimal(value).partition(".")
    text = f"{int(whole.lstrip('-')):,}" + (f".{fraction}" if fraction else "")
    return f"\N{MINUS SIGN}{text}" if value < 0 else text


def quantity(value: Decimal | None) -> SafeString | str:
    """Show a quantity as a column of figures has it."""
    return "—" if value is None else format_html('<span class="mg-figure">{}</span>', figure(value))


def link(row: Model | None, text: str | None = None) -> SafeString | str:
    """Link to the page of a neighbouring row."""
    if row is None:
        return "—"
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="mg-link" href="{}">{}</a>', address, text or str(row))


def listing(model: type[Model], text: str, **filters: Any) -> SafeString:
    """Link to a filtered list."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return format_html('<a class="mg-link" href="{}?{}">{}</a>', address, query, text)


def related_lists(*lists: tuple[str, str, str, Any]) -> SafeString:
    """Link to filtered lists that a row leads to: (what they are, `app_model`, lookup, value) each."""
    links = (
        (f"{reverse(f'admin:{screen}_changelist')}?{lookup}={value}", text) for text, screen, lookup, value in lists
    )
    return format_html_join(" · ", '<a class="mg-link" href="{}">{}</a>', links)


def brief_json(value: Any) -> str:
    """Show JSON in a list: its beginning, for an event may have megabytes of it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= BRIEF else text[:BRIEF] + " …"


def moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value is not None else "—"
