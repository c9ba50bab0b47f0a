"""Which part of a fee a charge is worth."""

from fractions import Fraction

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.charges import Charge
from apps.kernel.time import Cadence, Period
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import pauses_of


def share_of(subscription: Subscription, charge: Charge, revision: PriceRevision) -> Fraction:
    """Give the part of a fee's full period that is served and not paused; 0 bills nothing.

    A fee that is charged once is whole. An obligation is whole as well, unless its period begins in a pause.
    """
    if revision.billing_cadence and Cadence.parse(revision.billing_cadence).is_once:
        return Fraction(1)
    basis = "none" if revision.is_obligation else subscription.plan.proration
    return pauses_of(subscription).active_share(charge.service, charge.whole, basis=basis, tz=subscription.timezone)


def part_share(subscription: Subscription, charge: Charge, part: Period) -> Fraction:
    """Give the share of a part of a charge's service; the shares of all parts add up to the charge's."""
    return pauses_of(subscription).part_share(
        part, charge.service, charge.whole, basis=subscription.plan.proration, tz=subscription.timezone
    )


def is_asleep(subscription: Subscription, charge: Charge, revision: PriceRevision) -> bool:
    """Whether a charge is a fee of paused time alone; usage is billed whenever it was."""
    return not revision.bills_usage and share_of(subscription, charge, revision) == 0
