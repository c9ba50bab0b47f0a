from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin
from apps.kernel.adminsite.display import moment, related_lists
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.time import Cadence, add, parse_instant
from apps.subscriptions.models import ClockStatus, TestClock
from apps.subscriptions.services.clocks import create_clock, delete_clock, request_advance
from apps.subscriptions.tasks import advance_clock


class AdvanceForm(BaseDialogForm):
    to = forms.CharField(
        label="Advance to",
        help_text="A duration such as P1M or PT2H, or an instant such as 2026-03-01T00:00:00Z.",
        widget=UnfoldAdminTextInputWidget,
    )


def _advance(call: Call) -> str:
    text = call.data["to"].strip()
    try:
        is_step = text.startswith("P")
        target = add(call.row.current_time, Cadence.parse(text)) if is_step else parse_instant(text)
    except (ValueError, OverflowError):
        message = "Give a duration such as P1M, or an instant such as 2026-03-01T00:00:00Z."
        raise InvalidError(message, errors=[FieldError("to", message)]) from None
    request_advance(clock_id=call.row.pk, target=target)
    clock_id = call.row.pk
    transaction.on_commit(lambda: advance_clock.delay(clock_id))
    return f"Advancing to {moment(target)}; the clock shows it when all work on the way is done."


def _delete(call: Call) -> str:
    delete_clock(clock_id=call.row.pk, as_of=call.now)
    return "The clock is withdrawn."


@admin.register(TestClock)
class TestClockAdmin(BillingModelAdmin):
    """Simulated time; advancing runs the production code for everything due."""

    empty_text = "Subscriptions on a test clock live in simulated time."
    add_right: ClassVar[str | None] = "develop"
    list_display = ["shown", "public_id", "current_time", "target_time", "state", "organization"]
    list_filter = ["organization", "status", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "public_id"]
    list_select_related = ["organization"]
    actions_detail = ["advance_test_clock", "delete_test_clock"]

    advance_test_clock = service_action(
        title="Advance test clock",
        permissions=["develop"],
        description="Periods close, invoices are issued and sessions expire as they would in real time. "
        "A clock cannot go back.",
        run=_advance,
        form=AdvanceForm,
        icon="fast_forward",
        submit="Advance",
    )
    delete_test_clock = service_action(
        title="Delete test clock",
        permissions=["develop"],
        description="Possible once no live subscription stands on it.",
        run=_delete,
        icon="delete",
    )

    @display(description="Clock", ordering="name")
    def shown(self, clock: TestClock) -> str:
        return clock.name or clock.public_id

    @display(description="See also")
    def related(self, clock: TestClock) -> str:
        return related_lists(("Subscriptions", "subscriptions_subscription", "test_clock__id__exact", clock.pk))

    @display(description="Status", label={"Ready": "success", "Advancing": "info", "Failed": "danger"})
    def state(self, clock: TestClock) -> str:
        return ClockStatus(clock.status).label

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["organization", "name", "description", "current_time"]
        return [
            "public_id",
            "organization",
            "name",
            "related",
            "current_time",
            "target_time",
            "status",
            "failure",
            "deleted_at",
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        made = create_clock(
            organization_id=obj.organization_id,
            current_time=obj.current_time,
            name=obj.name,
            description=obj.description,
        )
        obj.pk, obj.public_id = made.pk, made.public_id
