from apps.subscriptions.models.clock import ClockStatus, TestClock
from apps.subscriptions.models.pause import SubscriptionPause
from apps.subscriptions.models.subscription import Subscription, SubscriptionStatus
from apps.subscriptions.models.timeline import (
    ChangeReason,
    IntervalKind,
    SubscriptionInterval,
    SubscriptionIntervalChange,
    SubscriptionQuantity,
)

__all__ = [
    "ChangeReason",
    "ClockStatus",
    "IntervalKind",
    "Subscription",
    "SubscriptionInterval",
    "SubscriptionIntervalChange",
    "SubscriptionPause",
    "SubscriptionQuantity",
    "SubscriptionStatus",
    "TestClock",
]
