"""How documents are numbered, and the counters behind it."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from apps.invoicing.domain.numbers import NumberFormat
from apps.invoicing.models import NumberingFormat, NumberSeries
from apps.invoicing.services.numbers import set_number_format
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.kernel.adminsite.forms import check_by_rules

# What an example is written for.
YEAR, NUMBER = 2026, 42


class NumberingFormatForm(forms.ModelForm):
    """Sets the format of what is issued from now on."""

    class Meta:
        model = NumberingFormat
        fields = ["organization", "kind", "text", "resets"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields.get("organization")
        if field is None:
            return  # only looked at
        field.label = "Merchant"
        field.queryset = field.queryset.filter(is_merchant=True)

    def _get_validation_exclusions(self) -> set[str]:
        # The service says what is wrong with a format, in better words than the constraints.
        return {*super()._get_validation_exclusions(), "shape", "text", "resets", "kind", "is_current"}  # type: ignore[misc]

    def _post_clean(self) -> None:
        if not self.errors:
            check_by_rules(self, self._set, {"format": "text"})

    def _set(self) -> None:
        data = self.cleaned_data
        self.instance = set_number_format(
            organization=data["organization"], kind=data["kind"], text=data["text"], resets=data["resets"]
        )

    def save(self, commit: bool = True) -> NumberingFormat:
        """Give the format that was set."""
        row: NumberingFormat = self.instance
        return row

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""


def _use_again(call: Call) -> str:
    row = call.row
    set_number_format(organization=row.organization, kind=row.kind, text=row.text, resets=row.resets)
    return "What is issued from now on is numbered by it, from where it was."


@admin.register(NumberingFormat)
class NumberingFormatAdmin(BillingModelAdmin):
    """Formats of numbers; those of before are kept, so that no number is given twice."""

    empty_text = "Without a format numbers are PREFIX-YYYY-000001, anew each year. Add one for numbers to come."
    add_right: ClassVar[str | None] = "administer"
    list_display = ["text", "example", "kind", "resets", "is_current", "organization", "created_at"]
    list_filter = ["organization", "kind", "is_current"]
    search_fields = ["public_id", "text"]
    list_select_related = ["organization"]
    ordering = ["-is_current", "-id"]
    form = NumberingFormatForm
    readonly_fields = ["example", "is_current", "public_id", "created_at", "updated_at"]
    actions_detail = ["use_again"]

    use_again = service_action(
        title="Use again",
        permissions=["administer"],
        description="Numbers what is issued from now on, from where it was; issued documents keep their numbers.",
        run=_use_again,
        icon="restart_alt",
        fits=lambda row: not row.is_current,
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        asked = ["organization", "kind", "text", "resets"]
        return asked if obj is None else [*asked, *self.readonly_fields]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """It is made by the form."""

    @display(description="Looks like")
    def example(self, row: NumberingFormat) -> str:
        return NumberFormat(row.text, row.resets).write(YEAR, NUMBER)


@admin.register(NumberSeries)
class NumberSeriesAdmin(ReadOnlyModelAdmin):
    """The counters behind document numbers."""

    empty_text = "A series begins with the first document of a format, or of a year of it."
    list_display = ["organization", "kind", "key", "year", "last_number"]
    list_filter = ["organization", "kind", "year"]
    list_select_related = ["organization"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).order_by("-year", "key")
