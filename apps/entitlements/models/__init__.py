from apps.entitlements.models.entitlement import Entitlement, EntitlementMeter
from apps.entitlements.models.grant import Grant
from apps.entitlements.models.pool import CreditPool, PoolMeter
from apps.entitlements.models.reservation import Reservation, ReservationStatus
from apps.entitlements.models.reset import UsageReset
from apps.entitlements.models.slot import Slot, SlotBurst, SlotEnd, SlotPool

__all__ = [
    "CreditPool",
    "Entitlement",
    "EntitlementMeter",
    "Grant",
    "PoolMeter",
    "Reservation",
    "ReservationStatus",
    "Slot",
    "SlotBurst",
    "SlotEnd",
    "SlotPool",
    "UsageReset",
]
