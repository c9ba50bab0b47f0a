import secrets
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from apps.entitlements.admin.base import TitledAdmin, UnitsField, remembered, title_of_right
from apps.entitlements.admin.burndown import balance_chart, segment_table
from apps.entitlements.admin.issuing import FIELDSETS, RIGHT, IssueForm
from apps.entitlements.admin.resets import ResetForm, run_reset
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.selectors.histories import History, histories
from apps.entitlements.selectors.slots import find_pool, rooms_of
from apps.entitlements.services.bursts import grant_burst
from apps.entitlements.services.granting import GrantTerms, create_grant
from apps.entitlements.services.issuing import cancel_entitlement
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import figure, link, moment, related_lists


class GrantForm(BaseDialogForm):
    amount = UnitsField(label="Units")
    priority = forms.IntegerField(
        min_value=-32768, max_value=32767, initial=0, widget=UnfoldAdminIntegerFieldWidget,
        help_text="Lower numbers are used first.",
    )  # fmt: skip
    expires = forms.SplitDateTimeField(
        label="Until", required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="Empty: for ever."
    )


class BurstForm(BaseDialogForm):
    slots = forms.IntegerField(
        min_value=1, max_value=1_000_000, label="More slots", widget=UnfoldAdminIntegerFieldWidget
    )
    until = forms.SplitDateTimeField(widget=UnfoldAdminSplitDateTimeWidget)
    reason = forms.CharField(max_length=255, required=False, widget=UnfoldAdminTextInputWidget)


def _burst(call: Call) -> str:
    burst, _ = grant_burst(
        entitlement=call.row,
        slots=call.data["slots"],
        starts_at=present_of(call.row),
        ends_at=call.data["until"],
        reason=call.data["reason"],
        key=f"admin-{secrets.token_hex(8)}",
    )
    return f"{burst.slots} more slots until {moment(burst.ends_at)}."


def _grant(call: Call) -> str:
    now = present_of(call.row)
    terms = GrantTerms(
        amount=call.data["amount"],
        idempotency_key=f"admin-{secrets.token_hex(8)}",
        effective_at=now,
        expires_at=call.data["expires"],
        priority=call.data["priority"],
    )
    grant, _ = create_grant(entitlement_id=call.row.pk, terms=terms, as_of=now)
    return f"{grant.amount.normalize():f} units granted as {grant.public_id}."


def _end(call: Call) -> str:
    cancel_entitlement(entitlement_id=call.row.pk, as_of=present_of(call.row))
    return "The right is over."


class MeterInline(TabularInline):
    """Prices whose usage draws on the right."""

    model = EntitlementMeter
    fields = readonly_fields = ["price", "metric"]
    extra = 0
    can_delete = False
    verbose_name_plural = "Usage that counts"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


def _is_live(row: Entitlement) -> bool:
    return row.active_to is None or row.active_to > present_of(row)


@admin.register(Entitlement)
class EntitlementAdmin(TitledAdmin):
    """What customers may use, and what is left of it."""

    empty_text = "Subscribing to a plan whose prices carry features makes them; add one here to issue it by hand."
    add_right: ClassVar[str | None] = RIGHT
    list_display = ["shown", "customer_page", "subscription_page", "kind", "since", "until"]
    list_filter = ["organization", "is_metered", "is_of_plan"]
    search_fields = ["public_id", "feature__key", "customer__public_id", "subscription__public_id"]
    list_select_related = ["feature", "customer__consumer", "subscription__test_clock", "organization"]
    inlines = [MeterInline]
    autocomplete_fields = ["customer"]
    readonly_fields = ["left", "chart", "explained", "neighbours"]
    actions_detail = ["grant_units", "reset_usage", "grant_slots", "end_entitlement"]

    grant_units = service_action(
        title="Grant units",
        permissions=["manage_subscription"],
        description="The customer can use them from now on, before money is asked for.",
        run=_grant,
        form=GrantForm,
        icon="add_circle",
        fits=lambda row: row.is_metered and _is_live(row),
    )
    reset_usage = service_action(
        title="Reset usage",
        permissions=["manage_subscription"],
        description="The usage period ends and the next begins: grants keep their rollover, the allowance is issued,"
        " usage counts from zero. This cannot be undone.",
        run=run_reset,
        form=ResetForm,
        icon="restart_alt",
        fits=lambda row: bool(row.reset_cadence) and not row.is_in_credits and _is_live(row),
    )
    grant_slots = service_action(
        title="Grant slots for a time",
        permissions=["manage_subscription"],
        description="So many more may be held at once from now on, until the end of the burst.",
        run=_burst,
        form=BurstForm,
        icon="bolt",
        fits=lambda row: row.slots is not None and _is_live(row),
    )
    end_entitlement = service_action(
        title="End entitlement",
        permissions=["manage_subscription"],
        description="The customer loses the feature now. What was used stays used.",
        run=_end,
        icon="block",
        fits=_is_live,
    )

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        made = super().get_form(request, obj, change, form=IssueForm, **kwargs)
        made.person = request.user
        return made

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj is not None else FIELDSETS

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj is not None else ()

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """Say what the form issued; what exists is changed by the buttons alone."""
        obj.name = self.title_of(obj)

    def get_queryset(self, request: HttpRequest) -> Any:
        # Pools have a screen of their own.
        return super().get_queryset(request).filter(feature__isnull=False)

    def title_of(self, row: Entitlement) -> str:
        return title_of_right(row)

    @display(description="Feature", header=True, ordering="feature__key")
    def shown(self, row: Entitlement) -> list[str]:
        return [row.right_to.key, row.public_id]

    @display(description="Customer")
    def customer_page(self, row: Entitlement) -> str:
        return link(row.customer)

    @display(description="Subscription")
    def subscription_page(self, row: Entitlement) -> str:
        return link(row.subscription)

    @display(description="Kind", label={"Hard limit": "warning", "Soft limit": "info"})
    def kind(self, row: Entitlement) -> str:
        if not row.is_metered:
            return "Boolean" if row.config is None else "Static"
        return "Soft limit" if row.is_soft_limit else "Hard limit"

    @display(description="From", ordering="active_from")
    def since(self, row: Entitlement) -> str:
        return moment(row.active_from)

    @display(description="Until", ordering="active_to")
    def until(self, row: Entitlement) -> str:
        return moment(row.active_to)

    @display(description="Left now")
    def left(self, row: Entitlement) -> str:
        if row.slots is not None:
            room = rooms_of([row], at={row.pk: present_of(row)})[row.pk]
            return f"{room.free} of {room.limit} slots are free"
        if not row.is_metered:
            return "Not metered"
        state = _history(row).state
        return format_html(
            "{}, used {} since the reset, overage {}",
            *map(figure, (state.balance, state.usage, state.overage)),
        )

    @display(description="Balance over time")
    def chart(self, row: Any) -> str:
        if not row.is_metered:
            return "Not metered"
        return remembered(row, "chart", lambda: balance_chart(_history(row), row.span))

    @display(description="Burn-down, step by step")
    def explained(self, row: Entitlement) -> str:
        if not row.is_metered:
            return "Not metered"
        return remembered(row, "explained", lambda: segment_table(_history(row)))

    @display(description="See also")
    def neighbours(self, row: Entitlement) -> str:
        pool = remembered(row, "slots", lambda: find_pool(customer_id=row.customer_id, feature_id=row.right_to_id))
        return related_lists(
            ("Grants", "entitlements_grant", "entitlement__id__exact", row.drawn_id),
            ("Reservations", "entitlements_reservation", "entitlement__id__exact", row.drawn_id),
            ("Resets by hand", "entitlements_usagereset", "entitlement__id__exact", row.pk),
            *([("Pool", "entitlements_creditpool", "id__exact", row.pool_id)] if row.pool_id is not None else []),
            *([("Slots", "entitlements_slot", "pool__id__exact", pool.pk)] if pool is not None else []),
        )


def _history(row: Entitlement) -> History:
    return remembered(row, "history", lambda: histories([(row, present_of(row))], is_whole=True)[row.pk])
