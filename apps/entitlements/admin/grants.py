from django.contrib import admin
from unfold.decorators import display

from apps.entitlements.admin.base import TitledAdmin, title_of_right, title_of_units
from apps.entitlements.models import CreditPool, Entitlement, Grant, Reservation, ReservationStatus
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.services.checking import end_reservation
from apps.entitlements.services.granting import void_grant
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import link, moment, quantity

# What says whose units they are.
HOLDER = ("entitlement__feature", "entitlement__pricing_unit", "entitlement__customer__consumer")


def _void(call: Call) -> str:
    void_grant(grant_id=call.row.pk, as_of=present_of(call.row.entitlement))
    return "What was left of it is gone."


def _release(call: Call) -> str:
    end_reservation(
        reservation_id=call.row.pk, status=ReservationStatus.RELEASED, as_of=present_of(call.row.entitlement)
    )
    return "Its units are free again."


def holder_page(row: Entitlement) -> str:
    """Link to whose units they are: a right, or a pool."""
    screen = row if row.pricing_unit_id is None else CreditPool(pk=row.pk)
    return link(screen, title_of_right(row))


@admin.register(Grant)
class GrantAdmin(TitledAdmin):
    """Units given beside allowances."""

    empty_text = "Units are granted on the page of an entitlement, or over the API."
    list_display = ["shown", "entitlement_page", "units", "priority", "since", "until", "voided"]
    list_filter = ["organization", "entitlement"]
    search_fields = ["public_id", "idempotency_key", "entitlement__public_id"]
    list_select_related = [*HOLDER, "organization"]
    actions_detail = ["void_grant"]

    void_grant = service_action(
        title="Void grant",
        permissions=["manage_subscription"],
        description="What is left of it cannot be used any more. What was used stays used. This cannot be undone.",
        run=_void,
        icon="block",
        fits=lambda row: row.voided_at is None,
    )

    def title_of(self, row: Grant) -> str:
        return title_of_units(row.amount, row.entitlement)

    @display(description="Grant", header=True, ordering="id")
    def shown(self, row: Grant) -> list[str]:
        return [str(row.entitlement.feature or row.entitlement.pricing_unit), row.public_id]

    @display(description="Entitlement")
    def entitlement_page(self, row: Grant) -> str:
        return holder_page(row.entitlement)

    @display(description="Units", ordering="amount")
    def units(self, row: Grant) -> str:
        return quantity(row.amount)

    @display(description="From", ordering="effective_at")
    def since(self, row: Grant) -> str:
        return moment(row.effective_at)

    @display(description="Until", ordering="expires_at")
    def until(self, row: Grant) -> str:
        return moment(row.expires_at)

    @display(description="Voided", ordering="voided_at")
    def voided(self, row: Grant) -> str:
        return moment(row.voided_at)


@admin.register(Reservation)
class ReservationAdmin(TitledAdmin):
    """Units set aside for use that is about to happen."""

    empty_text = "POST /v1/entitlements/check sets units aside; here is who holds them until when."
    list_display = ["public_id", "entitlement_page", "units", "status", "since", "until"]
    list_filter = ["organization", "status", "entitlement"]
    search_fields = ["public_id", "idempotency_key", "entitlement__public_id"]
    list_select_related = [*HOLDER, "organization"]
    actions_detail = ["release_reservation"]

    release_reservation = service_action(
        title="Release reservation",
        permissions=["manage_subscription"],
        description="Its units are free at once, for whoever asks next.",
        run=_release,
        icon="lock_open",
        fits=lambda row: row.status == ReservationStatus.HELD,
    )

    def title_of(self, row: Reservation) -> str:
        return f"Reservation of {title_of_units(row.quantity, row.entitlement)}"

    @display(description="Entitlement")
    def entitlement_page(self, row: Reservation) -> str:
        return holder_page(row.entitlement)

    @display(description="Units", ordering="quantity")
    def units(self, row: Reservation) -> str:
        return quantity(row.quantity)

    @display(description="Made", ordering="made_at")
    def since(self, row: Reservation) -> str:
        return moment(row.made_at)

    @display(description="Expires", ordering="expires_at")
    def until(self, row: Reservation) -> str:
        return moment(row.expires_at)
