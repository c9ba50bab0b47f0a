"""Screens of rights, units and reservations."""

from apps.entitlements.admin.entitlements import EntitlementAdmin
from apps.entitlements.admin.grants import GrantAdmin, ReservationAdmin

__all__ = ["EntitlementAdmin", "GrantAdmin", "ReservationAdmin"]
