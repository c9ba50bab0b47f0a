"""Links to a subscriber's own page: signed, for a time, and for one subscription only."""

from datetime import datetime
from typing import Any

from django.core import signing

from apps.subscriptions.models import Subscription

SALT = "subscription-portal"


class LinkExpiredError(Exception):
    """The link was good once."""


def make_link_token(subscription: Subscription, *, expires_at: datetime) -> str:
    """Give what a link to a subscription's page ends with; nobody without the server's key can make another."""
    return signing.dumps({"s": subscription.public_id, "e": int(expires_at.timestamp())}, salt=SALT)


def read_link_token(token: str, *, now: datetime) -> str:
    """Give the public id of the subscription that a link is for.

    Raises:
        LinkExpiredError: its time is over.
        ValueError: it was not made here.
    """
    try:
        found: dict[str, Any] = signing.loads(token, salt=SALT)
    except signing.BadSignature as error:
        raise ValueError("no link of this server") from error
    if now.timestamp() >= found["e"]:
        raise LinkExpiredError
    return str(found["s"])
