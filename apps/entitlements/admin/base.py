"""What the screens of rights share: pages titled in words, and forms of units."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from apps.entitlements.models import Entitlement
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import figure

T = TypeVar("T")
ABOVE_ZERO = "Give a number of units above zero."


class TitledAdmin(ReadOnlyModelAdmin):
    """A screen whose pages are titled by what a row is, rather than by its id.

    Attributes:
        list_select_related: neighbours that lists and titles show.
    """

    list_select_related: ClassVar[Sequence[str]]

    def title_of(self, row: Any) -> str:
        """Say what a row is, in words."""
        return str(row)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related(*self.list_select_related)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            # Entities are called by their name where they have one.
            row.name = self.title_of(row)
            # Of charts: not of the row, but of who looks at it.
            row.span = request.GET.get("span", "")
        return row


def remembered(row: Any, name: str, find: Callable[[], T]) -> T:
    """Give what a page shows of a row, found once: the skin asks for each field several times."""
    known: dict[str, T] = row.__dict__.setdefault("remembered", {})
    if name not in known:
        known[name] = find()
    return known[name]


def title_of_right(row: Entitlement) -> str:
    """Say what is whose: the feature, or the pricing unit of a pool."""
    return f"{row.feature or row.pricing_unit} of {row.customer}"


def title_of_units(amount: Decimal, row: Entitlement) -> str:
    return f"{figure(amount)} units of {title_of_right(row)}"


class UnitsField(forms.DecimalField):
    """A number of units, more than 0."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminDecimalFieldWidget)
        super().__init__(max_digits=20, decimal_places=9, **kwargs)

    def clean(self, value: Any) -> Decimal | None:
        amount: Decimal | None = super().clean(value)
        if amount is not None and amount <= 0:
            raise forms.ValidationError(ABOVE_ZERO)
        return amount
