"""Rate feeds and the rates in force."""

from collections.abc import Callable, Iterable
from datetime import datetime

from django.db import connection
from django.db.models import Q, QuerySet

from apps.catalog.models import FeedRate, Price, PriceRevision, RateFeed

# Up to when the use of a feed is billed; the app that bills says so at start-up.
_billed: list[Callable[[RateFeed], datetime | None]] = []


def register_billed_until(billed_until: Callable[[RateFeed], datetime | None]) -> None:
    """Let a higher app tell up to which moment usage that a feed prices is billed."""
    _billed.append(billed_until)


def billed_until(feed: RateFeed) -> datetime | None:
    """Give the moment before which the rates of a feed can change no more; None while none is billed."""
    known = [at for at in (until(feed) for until in _billed) if at is not None]
    return max(known, default=None)


def feeds_of_merchant(*, organization_id: int) -> QuerySet[RateFeed]:
    """Give a merchant's rate feeds, newest first."""
    rows = RateFeed.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("organization").order_by("-id")


def known_feeds(public_ids: Iterable[str], *, organization_id: int) -> dict[str, RateFeed]:
    """Give rate feeds of a merchant by their ids; unknown ones are left out."""
    rows = RateFeed.objects.filter(organization_id=organization_id, public_id__in=set(public_ids))
    return {row.public_id: row for row in rows}


def rates_of(feed: RateFeed, *, start: datetime | None = None, end: datetime | None = None) -> QuerySet[FeedRate]:
    """Give the rates of a feed that begin in an interval, the oldest first."""
    rows = FeedRate.objects.filter(feed=feed)
    if start is not None:
        rows = rows.filter(effective_from__gte=start)
    if end is not None:
        rows = rows.filter(effective_from__lt=end)
    return rows.order_by("effective_from")


def revisions_by_feed(feed: RateFeed) -> QuerySet[PriceRevision]:
    """Give all terms of prices that go, or went, by a feed, in any of their groups."""
    return PriceRevision.objects.filter(_by_feed(feed), price__organization_id=feed.organization_id)


def prices_by_feed(feed: RateFeed) -> QuerySet[Price]:
    """Give the prices that go by a feed now."""
    return Price.objects.filter(_by_feed(feed), organization_id=feed.organization_id, deleted_at__isnull=True)


def _by_feed(feed: RateFeed) -> Q:
    own = {"feedId": feed.public_id}
    return Q(model="dynamic") & (
        Q(properties__contains=own) | Q(properties__contains={"groups": [{"properties": own}]})
    )


def changes_inside_hours(feed_ids: Iterable[int], *, start: datetime, end: datetime) -> dict[int, list[datetime]]:
    """Give by feed the moments in `(start, end)` at which its rate changes within an hour of UTC."""
    found: dict[int, list[datetime]] = {feed_id: [] for feed_id in feed_ids}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT feed_id, effective_from FROM catalog_feedrate
            WHERE feed_id = ANY(%s) AND effective_from > %s AND effective_from < %s
              AND effective_from <> date_trunc('hour', effective_from, 'UTC')
            ORDER BY feed_id, effective_from
            """,
            [list(found), start, end],
        )
        for feed_id, at in cursor.fetchall():
            found[feed_id].append(at)
    return found
