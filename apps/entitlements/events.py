"""What entitlements announce."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.outbox.domain.events import outbox_event


@outbox_event("entitlement.created.v0")
@dataclass(frozen=True, slots=True)
class EntitlementCreated:
    entitlement_id: str
    customer_id: str
    feature_key: str
    active_from: datetime


@outbox_event("entitlement.canceled.v0")
@dataclass(frozen=True, slots=True)
class EntitlementCanceled:
    entitlement_id: str
    customer_id: str
    feature_key: str
    active_to: datetime


@outbox_event("grant.created.v0")
@dataclass(frozen=True, slots=True)
class GrantCreated:
    grant_id: str
    entitlement_id: str
    amount: Decimal
    effective_at: datetime


@outbox_event("grant.voided.v0")
@dataclass(frozen=True, slots=True)
class GrantVoided:
    grant_id: str
    entitlement_id: str
    voided_at: datetime


@outbox_event("entitlement.reset.v0")
@dataclass(frozen=True, slots=True)
class EntitlementReset:
    reset_id: str
    entitlement_id: str
    effective_at: datetime


@outbox_event("slot_burst.created.v0")
@dataclass(frozen=True, slots=True)
class SlotBurstCreated:
    slot_burst_id: str
    customer_id: str
    feature_key: str
    slots: int
    starts_at: datetime
    ends_at: datetime


@outbox_event("slot_burst.voided.v0")
@dataclass(frozen=True, slots=True)
class SlotBurstVoided:
    slot_burst_id: str
    customer_id: str
    feature_key: str
    voided_at: datetime
