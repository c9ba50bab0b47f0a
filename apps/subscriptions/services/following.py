"""What other apps do when a subscription begins, ends, or comes to sell something else."""

from collections.abc import Callable, Sequence
from datetime import datetime

from apps.subscriptions.models import Subscription

Moment = tuple[Subscription, datetime]
Follow = Callable[[Sequence[Moment]], None]

_followers: list[Follow] = []


def register_follower(follow: Follow) -> None:
    """Let a higher app follow subscriptions, in the transaction that changes them.

    It is given each with the moment of its change; the rows may not be saved yet.
    """
    _followers.append(follow)


def tell_followers(moments: Sequence[Moment]) -> None:
    """Tell that subscriptions became active, were terminated, or moved to another version (caller's transaction)."""
    if moments:
        for follow in _followers:
            follow(moments)
