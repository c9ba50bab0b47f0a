from apps.entitlements.models.entitlement import Entitlement, EntitlementMeter
from apps.entitlements.models.grant import Grant
from apps.entitlements.models.reservation import Reservation, ReservationStatus
from apps.entitlements.models.slot import Slot, SlotBurst, SlotEnd, SlotPool

__all__ = [
    "Entitlement",
    "EntitlementMeter",
    "Grant",
    "Reservation",
    "ReservationStatus",
    "Slot",
    "SlotBurst",
    "SlotEnd",
    "SlotPool",
]
