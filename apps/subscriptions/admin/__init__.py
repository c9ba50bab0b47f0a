from apps.subscriptions.admin.clocks import TestClockAdmin

__all__ = ["TestClockAdmin"]
