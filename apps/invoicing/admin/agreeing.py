"""What the dialogs and screens of all that is agreed with single subscribers share."""

from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.invoicing.admin.previews import PreviewForm
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment
from apps.kernel.errors import InvalidError
from apps.kernel.time import parse_instant


class WindowForm(PreviewForm):
    """From when on something is agreed, and until when."""

    effective_from = forms.CharField(
        max_length=40, widget=UnfoldAdminTextInputWidget, help_text="Such as 2026-02-01T00:00:00Z."
    )
    effective_to = forms.CharField(
        max_length=40, required=False, widget=UnfoldAdminTextInputWidget, help_text="Empty: without end."
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        for name in ("effective_from", "effective_to"):
            if data.get(name):
                try:
                    data[name] = parse_instant(data[name])
                except (ValueError, OverflowError):
                    self.add_error(name, "Give an instant such as 2026-02-01T00:00:00Z.")
        return data


def in_one_sentence(error: InvalidError) -> InvalidError:
    """Give a refusal that a message on a page can say whole: what is wrong with each field."""
    return InvalidError(" ".join(problem.message for problem in error.errors) or error.message)


def withdrawn(left: Any) -> str:
    """Say what became of what was withdrawn."""
    if left is None:
        return "It was never billed and is deleted."
    return f"It ends with the last period that was billed with it, {moment(left.effective_to)}."


class AgreedAdmin(ReadOnlyModelAdmin):
    """What is agreed with single subscribers, for a time."""

    date_hierarchy = "effective_from"
    list_select_related = ["subscription", "price", "organization"]
    actions_detail = ["withdraw"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, *(field.name for field in self.opts.fields)]

    @display(description="Subscription")
    def subscription_page(self, row: Any) -> str:
        return link(row.subscription)

    @display(description="From", ordering="effective_from")
    def begins(self, row: Any) -> str:
        return moment(row.effective_from)

    @display(description="To", ordering="effective_to")
    def ends(self, row: Any) -> str:
        return moment(row.effective_to) if row.effective_to is not None else "without end"
