import secrets
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display

from apps.entitlements.admin.base import TitledAdmin, remembered, title_of_right
from apps.entitlements.admin.burndown import balance_chart, segment_table
from apps.entitlements.admin.entitlements import GrantForm
from apps.entitlements.models import CreditPool, PoolMeter
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.selectors.histories import History, histories
from apps.entitlements.services.granting import GrantTerms, create_grant
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import figure, link, moment, related_lists


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
    return f"{grant.amount.normalize():f} credits granted as {grant.public_id}."


class PoolMeterInline(TabularInline):
    """Usage that draws on the pool, and by which terms."""

    model = PoolMeter
    fk_name = "pool"
    fields = readonly_fields = ["price", "metric", "rate", "since", "until", "by"]
    extra = 0
    can_delete = False
    ordering = ["-active_from"]
    verbose_name_plural = "Usage that draws credits"

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        return rows.select_related("revision__price", "metric", "subscription", "right")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    @display(description="Price")
    def price(self, row: PoolMeter) -> str:
        return link(row.revision.price)

    @display(description="Credits a unit")
    def rate(self, row: PoolMeter) -> str:
        figures = row.revision.properties
        return str(figures["unitPrice"]) if "unitPrice" in figures else f"{len(figures.get('tiers') or ())} tiers"

    @display(description="From")
    def since(self, row: PoolMeter) -> str:
        return moment(row.active_from)

    @display(description="Until")
    def until(self, row: PoolMeter) -> str:
        return moment(row.active_to)

    @display(description="Billed by")
    def by(self, row: PoolMeter) -> str:
        return link(row.subscription or row.right)


@admin.register(CreditPool)
class CreditPoolAdmin(TitledAdmin):
    """What customers have of pricing units."""

    empty_text = "Subscribing to a plan that gives or draws credits makes a pool; so does granting some over the API."
    list_display = ["shown", "customer_page", "since"]
    list_filter = ["organization", "pricing_unit"]
    search_fields = ["public_id", "pricing_unit__key", "customer__public_id"]
    list_select_related = ["pricing_unit", "customer__consumer", "organization"]
    inlines = [PoolMeterInline]
    fields = readonly_fields = [
        "public_id", "organization", "customer", "pricing_unit", "active_from", "left", "chart", "explained",
        "neighbours",
    ]  # fmt: skip
    actions_detail = ["grant_credits"]

    grant_credits = service_action(
        title="Grant credits",
        permissions=["manage_subscription"],
        description="All prices and features in the pricing unit can use them from now on.",
        run=_grant,
        form=GrantForm,
        icon="add_circle",
    )

    def title_of(self, row: CreditPool) -> str:
        return title_of_right(row)

    @display(description="Unit", header=True, ordering="pricing_unit__key")
    def shown(self, row: CreditPool) -> list[str]:
        return [str(row.pricing_unit), row.public_id]

    @display(description="Customer")
    def customer_page(self, row: CreditPool) -> str:
        return link(row.customer)

    @display(description="From", ordering="active_from")
    def since(self, row: CreditPool) -> str:
        return moment(row.active_from)

    @display(description="Left now")
    def left(self, row: CreditPool) -> str:
        state = _history(row).state
        return format_html("{}, drawn {}, overage {}", *map(figure, (state.balance, state.usage, state.overage)))

    @display(description="Balance over time")
    def chart(self, row: Any) -> str:
        return remembered(row, "chart", lambda: balance_chart(_history(row), row.span))

    @display(description="Burn-down, step by step")
    def explained(self, row: CreditPool) -> str:
        return remembered(row, "explained", lambda: segment_table(_history(row)))

    @display(description="See also")
    def neighbours(self, row: CreditPool) -> str:
        return related_lists(
            ("Grants", "entitlements_grant", "entitlement__id__exact", row.pk),
            ("Reservations", "entitlements_reservation", "entitlement__id__exact", row.pk),
            ("Entitlements", "entitlements_entitlement", "pool__id__exact", row.pk),
        )


def _history(row: CreditPool) -> History:
    return remembered(row, "history", lambda: histories([(row, present_of(row))])[row.pk])
