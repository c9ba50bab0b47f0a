"""What runs at once: pools with their use, slots that are held, bursts that were granted."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.entitlements.admin.base import TitledAdmin, remembered
from apps.entitlements.admin.charts import SPANS, Frame, span_links
from apps.entitlements.models import Slot, SlotBurst, SlotEnd, SlotPool
from apps.entitlements.selectors.slots import (
    SlotUse,
    bursts_in_effect,
    held_by_pool,
    held_slots,
    limit_of,
    present_of_pool,
    slot_use,
)
from apps.entitlements.services.bursts import void_burst
from apps.entitlements.services.slots import release_slot
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import link, moment, quantity, related_lists
from apps.kernel.clock import wall_now

USUAL = "week"


def _release(call: Call) -> str:
    release_slot(slot_id=call.row.pk, end=SlotEnd.FORCED)
    return "The slot is free. Whatever held it may still be running: its next heartbeat is refused."


def _void(call: Call) -> str:
    void_burst(burst_id=call.row.pk, as_of=present_of_pool(call.row.pool))
    return "The burst is over."


@admin.register(SlotPool)
class SlotPoolAdmin(TitledAdmin):
    """How much of a feature each customer runs at once."""

    empty_text = "The first slot that a customer acquires makes one; entitlement templates say `slots`."
    list_display = ["shown", "customer_page", "held"]
    list_filter = ["organization", "feature"]
    search_fields = ["public_id", "feature__key", "customer__public_id", "customer__consumer__name"]
    list_select_related = ["feature", "customer__consumer", "organization", "test_clock"]
    ordering = ["-id"]
    readonly_fields = ["now", "lately", "chart", "bursts", "neighbours"]
    fieldsets = [
        (None, {"fields": ["customer", "feature", "now", "lately", "chart", "bursts", "neighbours"]}),
        ("Record", {"fields": ["public_id", "created_at"]}),
    ]

    def title_of(self, row: SlotPool) -> str:
        return f"{row.feature} of {row.customer}"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        # Of the wall clock: customers of test clocks show theirs on their page.
        counts: Mapping[int, int] = held_by_pool(rows, at=wall_now())
        for row in rows:
            row.held_now = counts.get(row.pk, 0)
        changelist.result_list = rows
        return changelist

    @display(description="Feature", header=True, ordering="feature__key")
    def shown(self, row: SlotPool) -> list[str]:
        return [row.feature.key, row.public_id]

    @display(description="Customer")
    def customer_page(self, row: SlotPool) -> str:
        return link(row.customer)

    @display(description="Held now")
    def held(self, row: Any) -> str:
        return quantity(Decimal(row.held_now))

    @display(description="Now")
    def now(self, row: SlotPool) -> str:
        at = present_of_pool(row)
        limit = limit_of(customer_id=row.customer_id, feature_id=row.feature_id, at=at)
        return f"{held_slots(at).filter(pool=row).count()} of {limit} held"

    @display(description="Lately")
    def lately(self, row: SlotPool) -> str:
        use = _use(row)
        return f"In the last {_span(row)} {use.peak} at most, {use.average.normalize():f} on average"

    @display(description="Held over time")
    def chart(self, row: SlotPool) -> str:
        return span_links(_span(row), list(SPANS)) + slot_chart(_use(row))

    @display(description="Bursts in effect")
    def bursts(self, row: SlotPool) -> str:
        found = bursts_in_effect(row, at=present_of_pool(row))
        texts = ((f"{burst.slots} more until {moment(burst.ends_at)}",) for burst in found)
        return format_html_join(", ", "{}", texts) or "—"

    @display(description="See also")
    def neighbours(self, row: SlotPool) -> str:
        return related_lists(
            ("Slots", "entitlements_slot", "pool__id__exact", row.pk),
            ("Bursts", "entitlements_slotburst", "pool__id__exact", row.pk),
        )


class _OfPoolAdmin(TitledAdmin):
    """What belongs to a pool: shown by its feature and its customer."""

    list_select_related = ["pool__feature", "pool__customer__consumer", "pool__test_clock", "organization"]
    ordering = ["-id"]

    @display(description="Feature", header=True, ordering="id")
    def shown(self, row: Any) -> list[str]:
        return [row.pool.feature.key, row.public_id]

    @display(description="Customer")
    def customer_page(self, row: Any) -> str:
        return link(row.pool.customer)


@admin.register(Slot)
class SlotAdmin(_OfPoolAdmin):
    """Slots, held and ended."""

    empty_text = "POST /v1/slots acquires them."
    list_display = ["shown", "customer_page", "state", "holder", "acquired", "expires", "ended"]
    list_filter = ["organization", "end", ("ended_at", admin.EmptyFieldListFilter), "pool"]
    search_fields = ["public_id", "holder", "idempotency_key", "pool__feature__key", "pool__customer__public_id"]
    actions_detail = ["release"]

    release = service_action(
        title="Release slot",
        permissions=["manage_subscription"],
        description="It is free for whoever asks next. What holds it is not stopped; its next heartbeat is refused.",
        run=_release,
        icon="lock_open",
        fits=lambda row: row.ended_at is None,
    )

    def title_of(self, row: Slot) -> str:
        return f"Slot: {row.pool}"

    @display(description="State", label={"Held": "success", "Expired": "warning", "Forced": "danger"})
    def state(self, row: Slot) -> str:
        return row.get_end_display() or "Held"

    @display(description="Acquired", ordering="acquired_at")
    def acquired(self, row: Slot) -> str:
        return moment(row.acquired_at)

    @display(description="Lease ends", ordering="expires_at")
    def expires(self, row: Slot) -> str:
        return moment(row.expires_at)

    @display(description="Ended", ordering="ended_at")
    def ended(self, row: Slot) -> str:
        return moment(row.ended_at)


@admin.register(SlotBurst)
class SlotBurstAdmin(_OfPoolAdmin):
    """More slots for some time."""

    empty_text = "Bursts are granted on the page of an entitlement with slots, or over the API."
    list_display = ["shown", "customer_page", "slots", "since", "until", "voided", "reason"]
    list_filter = ["organization", "pool"]
    search_fields = ["public_id", "reason", "idempotency_key", "pool__feature__key", "pool__customer__public_id"]
    actions_detail = ["void"]

    void = service_action(
        title="End burst",
        permissions=["manage_subscription"],
        description="Slots beyond the plan's end with their leases. This cannot be undone.",
        run=_void,
        icon="block",
        fits=lambda row: row.voided_at is None,
    )

    def title_of(self, row: SlotBurst) -> str:
        return f"{row.slots} more slots: {row.pool}"

    @display(description="From", ordering="starts_at")
    def since(self, row: SlotBurst) -> str:
        return moment(row.starts_at)

    @display(description="Until", ordering="ends_at")
    def until(self, row: SlotBurst) -> str:
        return moment(row.ends_at)

    @display(description="Ended early", ordering="voided_at")
    def voided(self, row: SlotBurst) -> str:
        return moment(row.voided_at)


def slot_chart(use: SlotUse) -> SafeString:
    """Draw how many slots were held; each number holds until the next."""
    if not use.steps:
        return format_html("{}", "None was held.")
    points, before = [(use.start, 0)], 0
    for at, held in use.steps:
        points += [(max(at, use.start), before), (max(at, use.start), held)]
        before = held
    points.append((use.end, before))
    frame = Frame(use.start, use.end, low=Decimal(0), high=Decimal(max(use.peak, 1)))
    corners = [(at, Decimal(held)) for at, held in points]
    first = next((at for at, held in points if held == use.peak), use.end)
    labels = {
        held: frame.label(at, Decimal(held), f"{held:,}") for at, held in ((first, use.peak), (use.end, before))
    }
    line = format_html('<polyline points="{}"/>', frame.corners(corners))
    return frame.drawn(line, *labels.values(), name="Slots held over time")


def _use(row: Any) -> SlotUse:
    """Give the use over the span that is looked at."""
    at = present_of_pool(row)
    return remembered(row, "use", lambda: slot_use(pool=row, start=at - SPANS[_span(row)], end=at, at=at))


def _span(row: Any) -> str:
    return row.span if row.span in SPANS else USUAL
