"""Screens of rights, units, pools, reservations and slots."""

from apps.entitlements.admin.entitlements import EntitlementAdmin
from apps.entitlements.admin.grants import GrantAdmin, ReservationAdmin
from apps.entitlements.admin.pools import CreditPoolAdmin
from apps.entitlements.admin.resets import UsageResetAdmin
from apps.entitlements.admin.slots import SlotAdmin, SlotBurstAdmin, SlotPoolAdmin

__all__ = [
    "CreditPoolAdmin",
    "EntitlementAdmin",
    "GrantAdmin",
    "ReservationAdmin",
    "SlotAdmin",
    "SlotBurstAdmin",
    "SlotPoolAdmin",
    "UsageResetAdmin",
]
