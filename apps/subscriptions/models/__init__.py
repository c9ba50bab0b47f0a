from apps.subscriptions.models.clock import ClockStatus, TestClock
from apps.subscriptions.models.pause import SubscriptionPause
from apps.subscriptions.models.subscription import Subscription, SubscriptionStatus

__all__ = ["ClockStatus", "Subscription", "SubscriptionPause", "SubscriptionStatus", "TestClock"]
