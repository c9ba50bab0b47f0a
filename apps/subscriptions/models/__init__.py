from apps.subscriptions.models.clock import ClockStatus, TestClock
from apps.subscriptions.models.subscription import Subscription, SubscriptionStatus

__all__ = ["ClockStatus", "Subscription", "SubscriptionStatus", "TestClock"]
