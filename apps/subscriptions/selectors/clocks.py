from collections.abc import Collection, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from apps.customers.models import ExternalIdLink
from apps.kernel.clock import wall_now
from apps.subscriptions.models import ClockStatus, Subscription, SubscriptionStatus, TestClock


def clocks_of(*, organization_id: int) -> QuerySet[TestClock]:
    """Give a merchant's test clocks, newest first, without the deleted ones."""
    return TestClock.objects.filter(organization_id=organization_id, deleted_at__isnull=True).order_by("-id")


def current_time(subscription: Subscription) -> datetime:
    """Give the present of a subscription: its test clock's, or the wall clock's."""
    clock = subscription.test_clock
    return wall_now() if clock is None else clock.current_time


def find_clock(customer_id: int) -> TestClock | None:
    """Give the test clock a customer lives on; None for one of the wall clock."""
    live = Subscription.objects.filter(customer_id=customer_id, test_clock__isnull=False)
    live = live.exclude(status=SubscriptionStatus.TERMINATED).select_related("test_clock").order_by("-pk")
    found = live.first()
    return None if found is None else found.test_clock


def find_simulated_present(customer_id: int) -> datetime | None:
    """Give the time of the test clock a customer lives on; None for one of the wall clock."""
    clock = find_clock(customer_id)
    return None if clock is None else clock.current_time


def simulated_presents(customer_ids: Collection[int]) -> dict[int, datetime]:
    """Give the time of the test clocks that customers live on; those of the wall clock are left out."""
    live = Subscription.objects.filter(customer_id__in=customer_ids, test_clock__isnull=False)
    live = live.exclude(status=SubscriptionStatus.TERMINATED).order_by("pk")
    return dict(live.values_list("customer_id", "test_clock__current_time"))


def simulated_names(organization_id: int, names: Collection[tuple[bool, str]]) -> set[tuple[bool, str]]:
    """Give those of some names, (is it the merchant's own id, id), whose customer subscribed on a test clock."""
    own = [value for is_external, value in names if not is_external]
    external = [value for is_external, value in names if is_external]
    simulated = Subscription.objects.filter(organization_id=organization_id, test_clock__isnull=False)
    found = {
        (False, value)
        for value in simulated.filter(customer__public_id__in=own).values_list("customer__public_id", flat=True)
    }
    if external:
        links = ExternalIdLink.objects.filter(
            organization_id=organization_id,
            external_id__in=external,
            customer_id__in=simulated.values("customer_id"),
        )
        found |= {(True, value) for value in links.values_list("external_id", flat=True)}
    return found


def live_subscriptions_on(*, clock: TestClock) -> QuerySet[Subscription]:
    """Give the subscriptions that still live in a clock's time."""
    return Subscription.objects.filter(test_clock=clock).exclude(status=SubscriptionStatus.TERMINATED)


def interrupted_clock_ids() -> Sequence[int]:
    """Give the clocks whose advance was asked for and is not done."""
    return list(TestClock.objects.filter(status=ClockStatus.ADVANCING).values_list("pk", flat=True))


def on_clock(clock_id: int | None, prefix: str = "") -> Q:
    """Give the filter for rows that live on one test clock (or, with None, on the wall clock)."""
    return (
        Q(**{f"{prefix}test_clock__isnull": True}) if clock_id is None else Q(**{f"{prefix}test_clock_id": clock_id})
    )
