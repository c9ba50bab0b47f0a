"""What subscriptions announce."""

from dataclasses import dataclass
from datetime import datetime

from apps.outbox.domain.events import outbox_event


@outbox_event("subscription.created.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionCreated:
    subscription_id: str
    customer_id: str
    plan_id: str
    status: str


@outbox_event("subscription.updated.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionUpdated:
    subscription_id: str
    status: str


@outbox_event("subscription.activated.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionActivated:
    subscription_id: str
    activated_at: datetime


@outbox_event("subscription.trial_changed.v0")
@dataclass(frozen=True, slots=True)
class TrialChanged:
    subscription_id: str
    trial_ends_at: datetime
    previously: datetime


@outbox_event("subscription.trial_ended.v0")
@dataclass(frozen=True, slots=True)
class TrialEnded:
    subscription_id: str
    trial_ends_at: datetime


@outbox_event("subscription.renewed.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionRenewed:
    subscription_id: str
    period_number: int
    period_start: datetime
    period_end: datetime


@outbox_event("subscription.paused.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionPaused:
    subscription_id: str
    paused_at: datetime


@outbox_event("subscription.resumed.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionResumed:
    subscription_id: str
    paused_at: datetime
    resumed_at: datetime


@outbox_event("subscription.cancelled.v0")
@dataclass(frozen=True, slots=True)
class SubscriptionCancelled:
    subscription_id: str
    terminated_at: datetime
    reason: str


@outbox_event("test_clock.advanced.v0")
@dataclass(frozen=True, slots=True)
class TestClockAdvanced:
    test_clock_id: str
    current_time: datetime
