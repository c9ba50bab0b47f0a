"""Moving living subscriptions between the versions of their plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Coalesce

from apps.catalog.models import Plan, PlanVersion, PlanVersionStatus, PriceRevision
from apps.catalog.selectors.terms import current_lines, current_revision_ids, revisions_by_id
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.services.pausing import locked_at_present
from apps.kernel.errors import ConflictError, NotFoundError
from apps.kernel.time import format_instant
from apps.outbox.services import publish
from apps.subscriptions.domain.timeline import OWNED
from apps.subscriptions.events import SubscriptionUpdated
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import known_end
from apps.subscriptions.selectors.timeline import timeline_of
from apps.subscriptions.services.following import tell_followers

IMMEDIATE, NEXT_PERIOD = "immediate", "next_period"


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did.

    Attributes:
        effective_at: from when prices in advance are billed by the target; None when nothing moved.
        features_effective_at: from when the subscription's features are the target's.
    """

    from_number: int
    to_number: int
    effective_at: datetime | None
    features_effective_at: datetime | None

    @property
    def is_change(self) -> bool:
        return self.effective_at is not None


@transaction.atomic
def migrate_version(*, subscription_id: int, target_number: int, timing: str | None, as_of: datetime) -> Migration:
    """Move a subscription to a version of its plan, and pin it there; nothing is prorated.

    `next_period` moves everything at the end of the open period. `immediate` bills prices in arrears for the whole
    open period by the target, and prices in advance from the next one. A second migration before the boundary takes
    the place of the first; a repeated one changes nothing.

    Args:
        timing: None takes what the plan says for new versions.

    Raises:
        NotFoundError: the plan has no published version of that number.
        ConflictError: the subscription is not active, or ends before the boundary; or a price interval that goes on
            would mean something else under the target.
    """
    subscription = locked_at_present(subscription_id, as_of)
    plan, current = subscription.plan, subscription.plan_version
    target = PlanVersion.objects.filter(plan=plan, number=target_number, status=PlanVersionStatus.PUBLISHED).first()
    if target is None:
        raise NotFoundError(f"The plan has no published version {target_number}.")
    if subscription.status != SubscriptionStatus.ACTIVE:
        raise ConflictError(
            "Only an active subscription has a period that a migration can start from.",
            code="SUBSCRIPTION_NOT_ACTIVE",
        )
    boundary = subscription.period_end
    assert boundary is not None
    ends_at = known_end(subscription)
    if ends_at is not None and ends_at <= boundary:
        raise ConflictError(
            "The subscription ends before its next period; no price of the version would be billed.",
            code="SUBSCRIPTION_ENDS",
        )
    if timing is None:
        timing = IMMEDIATE if plan.version_effective == "immediate" else NEXT_PERIOD
    is_pinned = subscription.version_policy == "pinned"
    moves_on = subscription.next_version or current
    if is_pinned and moves_on == target and (timing == NEXT_PERIOD or current == target):
        return Migration(moves_on.number, target.number, None, None)
    _require_same_meaning(subscription, target, as_of if timing == IMMEDIATE else boundary)
    subscription.version_policy = "pinned"
    if timing == IMMEDIATE:
        _bill_open_period_by(subscription, target)
        subscription.next_version = None
    else:
        subscription.next_version = target if target != current else None
    subscription.save()
    if timing == IMMEDIATE:
        tell_followers([(subscription, as_of)])
    publish(
        SubscriptionUpdated(subscription_id=subscription.public_id, status=subscription.status),
        organization_id=subscription.organization_id,
        object_id=subscription.public_id,
        at=as_of,
    )
    return Migration(current.number, target.number, boundary, as_of if timing == IMMEDIATE else boundary)


def _require_same_meaning(subscription: Subscription, target: PlanVersion, at: datetime) -> None:
    """Refuse a version under which price intervals that go on would bill something else, or twice.

    Raises:
        ConflictError: there are such; the first is named.
    """
    going_on = [one for one in timeline_of(subscription).intervals if one.end is None or one.end > at]
    if not going_on:
        return
    before = dict(current_lines(plan_version_id=subscription.plan_version_id))
    after = dict(current_lines(plan_version_id=target.pk))
    sold = {revision.price_id for revision in after.values()}
    for interval in going_on:
        old, new = before.get(interval.key), after.get(interval.key)
        if interval.kind == OWNED:
            problem = "is sold by the version too" if new is not None or interval.price_id in sold else None
        elif new is None:
            problem = "is not sold by the version"
        else:
            is_same = old is None or _billed_like(old) == _billed_like(new)
            problem = None if is_same else "is billed otherwise by the version"
        if problem is not None:
            raise ConflictError(
                f"The interval {interval.public_id} goes on, and {interval.key} {problem}; end it at"
                f" {format_instant(at)} or before.",
                code="INTERVAL_IN_THE_WAY",
                details={"intervalId": interval.public_id, "priceKey": interval.key},
            )


def _billed_like(revision: PriceRevision) -> tuple[object, ...]:
    """Give what makes an override of a price mean the same."""
    return (
        revision.metric_id,
        revision.fee_id,
        revision.payment_term,
        revision.billing_cadence,
        revision.is_obligation,
    )


def follow_default(plan_id: int) -> None:
    """Bill the open periods of floating subscriptions by a plan's new default, where the plan moves them at once.

    In the transaction that moves the default. Otherwise, and for prices in advance, the next boundary moves them.
    """
    plan = Plan.objects.select_related("default_version").get(pk=plan_id)
    version = plan.default_version
    if plan.version_effective != "immediate" or version is None:
        return
    floating = Subscription.objects.select_for_update(no_key=True).filter(
        plan=plan, status=SubscriptionStatus.ACTIVE, version_policy="floating"
    )
    ids = list(floating.exclude(plan_version=version).order_by("pk").values_list("pk", flat=True))
    opened = Invoice.objects.filter(subscription_id__in=ids, status=InvoiceStatus.ACTIVE)
    incoming = current_revision_ids(plan_version_id=version.pk)
    # Most opened with the same terms, so a few statements move them all.
    for terms in set(map(tuple, opened.values_list("price_revision_ids", flat=True))):
        group = opened.filter(price_revision_ids=list(terms))
        members = list(group.values_list("subscription_id", flat=True))
        mixed = _arrears_of_target(terms, incoming)
        group.update(
            price_revision_ids=mixed,
            plan_version=version,
            opened_version=Coalesce("opened_version", "plan_version"),
        )
        Subscription.objects.filter(pk__in=members).update(price_revision_ids=mixed, plan_version=version)
    moved = Subscription.objects.filter(pk__in=ids, plan_version=version).select_related("test_clock")
    tell_followers([(subscription, current_time(subscription)) for subscription in moved])


def _bill_open_period_by(subscription: Subscription, version: PlanVersion) -> None:
    invoice = Invoice.objects.select_for_update(no_key=True).get(
        subscription=subscription, status=InvoiceStatus.ACTIVE
    )
    mixed = _arrears_of_target(invoice.price_revision_ids, current_revision_ids(plan_version_id=version.pk))
    invoice.opened_version = invoice.opened_version or invoice.plan_version
    invoice.price_revision_ids, invoice.plan_version = mixed, version
    invoice.save(update_fields=["price_revision_ids", "plan_version", "opened_version", "updated_at"])
    subscription.price_revision_ids, subscription.plan_version = mixed, version


def _arrears_of_target(opened_with: Sequence[int], target: Sequence[int]) -> list[int]:
    """Give the terms of an open period that moved at once: in advance as it opened, in arrears as the target."""
    revisions = revisions_by_id([*opened_with, *target])
    return [key for key in opened_with if revisions[key].is_prepaid] + [
        key for key in target if not revisions[key].is_prepaid
    ]
