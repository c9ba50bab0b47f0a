"""Screens of rights, units, reservations and slots."""

from apps.entitlements.admin.entitlements import EntitlementAdmin
from apps.entitlements.admin.grants import GrantAdmin, ReservationAdmin
from apps.entitlements.admin.slots import SlotAdmin, SlotBurstAdmin, SlotPoolAdmin

__all__ = ["EntitlementAdmin", "GrantAdmin", "ReservationAdmin", "SlotAdmin", "SlotBurstAdmin", "SlotPoolAdmin"]
