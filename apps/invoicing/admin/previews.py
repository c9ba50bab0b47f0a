"""What a change would bill, in the dialog that asks for it, before it is made."""

from abc import abstractmethod
from typing import Any, ClassVar

from django.http import HttpRequest
from unfold.forms import BaseDialogForm

from apps.invoicing.services.previewing import Bill, Preview
from apps.kernel.adminsite.abstract import AbstractForm
from apps.kernel.adminsite.display import moment
from apps.kernel.errors import DomainError, InvalidError
from apps.kernel.money import format_money
from apps.subscriptions.models import Subscription


class AskingForm(BaseDialogForm, metaclass=AbstractForm):
    """A dialog that says what it would do: as it opens where nothing must be chosen, else when it is asked.

    Subclasses say in `shown` what. Sent with the name `preview` it never acts.
    """

    form_after_template: ClassVar[str]
    # Whether the dialog can say it before anything is filled in, and whether what is filled in changes it.
    is_ready: ClassVar[bool] = False
    can_ask: ClassVar[bool] = True

    @abstractmethod
    def find_row(self, object_id: str) -> Any:
        """Give the row of the page, or None."""

    @abstractmethod
    def shown(self, row: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Give what the template shows of what the dialog asks for."""

    def is_valid(self) -> bool:
        # Asked in any case, so that what is wrong stands at its field.
        is_filled = super().is_valid()
        return is_filled and "preview" not in self.data

    def get_after_template_context(self, request: HttpRequest, object_id: int | str | None = None) -> dict[str, Any]:
        context: dict[str, Any] = {"address": request.get_full_path(), "can_ask": self.can_ask}
        is_asked = self.is_ready if not self.is_bound else "preview" in self.data and not self.errors
        if not is_asked:
            return context
        row = self.find_row(str(object_id))
        if row is None:
            return context
        data = self.cleaned_data if self.is_bound else {name: field.initial for name, field in self.fields.items()}
        try:
            return context | self.shown(row, data)
        except DomainError as error:
            problems = error.errors if isinstance(error, InvalidError) else ()
            return context | {"refusal": " ".join(problem.message for problem in problems) or error.message}


class PreviewForm(AskingForm):
    """A dialog that says what its change of a subscription would bill; subclasses say in `previewed` how."""

    form_after_template: ClassVar[str] = "invoicing/preview.html"

    @abstractmethod
    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        """Give the preview of what the dialog asks for."""

    def find_row(self, object_id: str) -> Subscription | None:
        return Subscription.objects.select_related("organization", "test_clock").filter(pk=object_id).first()

    def shown(self, row: Subscription, data: dict[str, Any]) -> dict[str, Any]:
        return _shown(self.previewed(row, data))


def _shown(preview: Preview) -> dict[str, Any]:
    currency = preview.currency
    bills = [("The open bill as it is", preview.before), ("The open bill then", preview.closing)]
    bills += [("First bill of the new subscription", preview.opening)] if preview.opening.lines else []
    return {
        "preview": preview,
        "effective_at": moment(preview.effective_at),
        "bills": [_bill(title, bill, currency) for title, bill in bills],
        "credit": format_money(preview.credit, currency) if preview.credit else "",
        "due_today": format_money(preview.due_today, currency),
    }


def _bill(title: str, bill: Bill, currency: str) -> dict[str, Any]:
    return {
        "title": title,
        "lines": [(line.display_name, format_money(line.subtotal, currency)) for line in bill.lines],
        "tax": format_money(bill.tax, currency),
        "total": format_money(bill.total, currency),
    }
