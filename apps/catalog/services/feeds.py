"""Rate feeds: made, changed, and given rates; a rate that usage was billed by never changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.catalog.events import RatesChanged
from apps.catalog.models import FeedRate, RateFeed
from apps.catalog.selectors.feeds import billed_until, rates_of, revisions_by_feed
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.money import is_currency
from apps.kernel.time import format_instant
from apps.outbox.services import publish

# So many of the refused instants are named.
NAMED = 20


@dataclass(frozen=True, slots=True)
class RatesSet:
    """What setting rates did: how many are new or another, how many are gone, how many were so already."""

    changed: int
    removed: int
    unchanged: int


def create_feed(*, organization_id: int, name: str, currency: str, unit: str = "", description: str = "") -> RateFeed:
    """Make a rate feed without rates.

    Raises:
        InvalidError: the currency is none.
    """
    _check_currency(currency)
    return RateFeed.objects.create(
        organization_id=organization_id, name=name, currency=currency, unit=unit, description=description
    )


@transaction.atomic
def update_feed(*, feed_id: int, changes: Mapping[str, Any]) -> RateFeed:
    """Change what a feed says of itself; its currency only while no price goes by it.

    Raises:
        InvalidError: the currency is none.
        ConflictError: a price goes, or went, by the feed.
    """
    feed = RateFeed.objects.select_for_update().get(pk=feed_id)
    currency = changes.get("currency", feed.currency)
    if currency != feed.currency:
        _check_currency(currency)
        _require_unused(feed, "its currency cannot change")
    for name, value in changes.items():
        setattr(feed, name, value)
    feed.save()
    return feed


@transaction.atomic
def delete_feed(*, feed_id: int, as_of: datetime) -> None:
    """Withdraw a feed that no price ever went by.

    Raises:
        ConflictError: one does, or did; its lines must stay recomputable.
    """
    feed = RateFeed.objects.select_for_update().get(pk=feed_id)
    _require_unused(feed, "it cannot be deleted")
    feed.deleted_at = as_of
    feed.save(update_fields=["deleted_at", "updated_at"])


@transaction.atomic
def set_rates(*, feed_id: int, rates: Mapping[datetime, Decimal | None], as_of: datetime) -> RatesSet:
    """Say what a unit costs from some moments on; all are set, or none. Saying the same again changes nothing.

    Args:
        rates: by the moment that they hold from; None takes a rate away, so that the one before it holds on.

    Raises:
        ConflictError: the rate of a time whose usage is billed would change.
    """
    # Calculations hold the row for reading, so that none prices by a rate that changes under it.
    feed = RateFeed.objects.select_for_update().get(pk=feed_id)
    known = dict(
        FeedRate.objects.filter(feed=feed, effective_from__in=list(rates)).values_list("effective_from", "value")
    )
    changes = {at: value for at, value in rates.items() if known.get(at) != value}
    if not changes:
        return RatesSet(0, 0, len(rates))
    _require_unbilled(feed, changes)
    gone = [at for at, value in changes.items() if value is None]
    FeedRate.objects.filter(feed=feed, effective_from__in=gone).delete()
    FeedRate.objects.bulk_create(
        [
            FeedRate(organization_id=feed.organization_id, feed=feed, effective_from=at, value=value)
            for at, value in sorted(changes.items())
            if value is not None
        ],
        update_conflicts=True,
        unique_fields=["feed", "effective_from"],
        update_fields=["value"],
        batch_size=2_000,
    )
    publish(
        RatesChanged(feed_id=feed.public_id, count=len(changes), first_at=min(changes)),
        organization_id=feed.organization_id,
        object_id=feed.public_id,
        at=as_of,
    )
    return RatesSet(len(changes) - len(gone), len(gone), len(rates) - len(changes))


def _check_currency(currency: str) -> None:
    if not is_currency(currency):
        message = "Give an ISO 4217 code, such as USD."
        raise InvalidError(message, errors=[FieldError("currency", message, "invalid")])


def _require_unused(feed: RateFeed, consequence: str) -> None:
    revision = revisions_by_feed(feed).select_related("price").first()
    if revision is not None:
        raise ConflictError(
            f"Price {revision.price.public_id} goes, or went, by this feed; {consequence}.",
            code="FEED_IN_USE",
            details={"priceId": revision.price.public_id},
        )


def _require_unbilled(feed: RateFeed, changes: Mapping[datetime, Decimal | None]) -> None:
    """Refuse changes of what was in force at a moment before which usage is billed."""
    until = billed_until(feed)
    if until is None or min(changes) >= until:
        return
    moments = _moments_that_change(feed, changes, until)
    if moments:
        named = [format_instant(at) for at in moments[:NAMED]]
        raise ConflictError(
            f"Usage up to {format_instant(until)} is billed by these rates, so they stay: {', '.join(named)}. To make"
            " up for a wrong one, agree an adjustment or add a line to the next invoice.",
            code="RATE_BILLED",
            details={"billedUntil": format_instant(until), "effectiveFrom": named, "count": len(moments)},
        )


def _moments_that_change(
    feed: RateFeed, changes: Mapping[datetime, Decimal | None], until: datetime
) -> list[datetime]:
    """Give the moments before an instant from which on another rate would be in force than is."""
    first = min(changes)
    before = dict(rates_of(feed, start=first, end=until).values_list("effective_from", "value"))
    after: dict[datetime, Decimal | None] = {**before, **{at: v for at, v in changes.items() if at < until}}
    earlier = FeedRate.objects.filter(feed=feed, effective_from__lt=first).order_by("-effective_from").first()
    is_now = would_be = earlier.value if earlier is not None else None
    found = []
    for at in sorted(after):
        is_now = before.get(at, is_now)
        value = after[at]
        would_be = would_be if value is None else value
        if is_now != would_be:
            found.append(at)
    return found
