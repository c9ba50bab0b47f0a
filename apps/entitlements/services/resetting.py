"""Usage periods that somebody ends by hand."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from apps.catalog.models import PriceRevision
from apps.entitlements.domain.access import is_in_force
from apps.entitlements.domain.resets import ResetError, floor_minute
from apps.entitlements.events import EntitlementReset
from apps.entitlements.models import Entitlement, EntitlementMeter, UsageReset
from apps.entitlements.selectors.schedules import schedule_of
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.time import format_instant
from apps.outbox.services import Announcement, publish_all
from apps.subscriptions.models import Subscription, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class ResetTerms:
    """What a reset by hand does.

    Attributes:
        effective_at: from when; None: now. It counts from the beginning of its minute.
        retains_anchor: whether later resets keep their calendar; otherwise they count from this one.
        preserves_overage: whether overage is carried over; None: as the right's own terms say.
    """

    idempotency_key: str
    effective_at: datetime | None = None
    retains_anchor: bool = True
    preserves_overage: bool | None = None
    reason: str = ""


@transaction.atomic
def reset_entitlement(*, entitlement_id: int, terms: ResetTerms, as_of: datetime) -> tuple[UsageReset, bool]:
    """End the running usage period of a right and begin the next, or give the reset that the same key made before.

    Grants are left their rollover and the allowance is issued, as at a reset of the calendar.

    Returns:
        The reset, and whether it is new.

    Raises:
        ConflictError: the key made another reset; the right is over, not metered, never resets, or shows a pool.
        InvalidError: the moment lies ahead, not after the last reset, or in time that is billed.
    """
    customer_id = Entitlement.objects.values_list("customer_id", flat=True).get(pk=entitlement_id)
    # Subscriptions, then the right: whoever closes a period holds the first, so that none closes meanwhile.
    active = Subscription.objects.filter(customer_id=customer_id, status=SubscriptionStatus.ACTIVE)
    subscriptions = list(active.select_for_update(of=("self",)).order_by("pk"))
    row = Entitlement.objects.select_for_update(of=("self",)).get(pk=entitlement_id)
    resets = list(UsageReset.objects.filter(entitlement=row).order_by("effective_at"))
    known = next((one for one in resets if one.idempotency_key == terms.idempotency_key), None)
    if known is not None:
        if not _is_same(known, row, terms):
            raise ConflictError(
                "This idempotency key belongs to another reset; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
            )
        return known, False
    _require_resettable(row, as_of)
    try:
        at = schedule_of(row, resets).instant_for(terms.effective_at or as_of, now=as_of)
    except ResetError as error:
        raise InvalidError(str(error), errors=[FieldError("effectiveAt", str(error), "invalid")]) from None
    _require_unbilled(row, subscriptions, at)
    made = UsageReset.objects.create(
        organization_id=row.organization_id,
        entitlement=row,
        effective_at=at,
        made_at=as_of,
        retains_anchor=terms.retains_anchor,
        preserves_overage=_preserves(row, terms),
        reason=terms.reason,
        idempotency_key=terms.idempotency_key,
    )
    announced = EntitlementReset(made.public_id, row.public_id, at)
    publish_all([Announcement(announced, row.organization_id, row.public_id, as_of)])
    return made, True


def _require_resettable(row: Entitlement, as_of: datetime) -> None:
    if not row.is_metered:
        raise ConflictError("Only a metered entitlement is reset.", code="ENTITLEMENT_NOT_METERED")
    if row.is_in_credits:
        raise ConflictError(
            "The entitlement is used in credits of a pool, which has no usage period; grant credits or void grants.",
            code="ENTITLEMENT_IN_CREDITS",
        )
    if not is_in_force(active_from=row.active_from, active_to=row.active_to, at=as_of):
        raise ConflictError(
            "The entitlement is not in force; nothing of it can be reset.", code="ENTITLEMENT_NOT_ACTIVE"
        )
    if not row.reset_cadence:
        raise ConflictError(
            "The entitlement has no usage period, so that it never resets; grant units instead.",
            code="ENTITLEMENT_NEVER_RESETS",
        )


def _require_unbilled(row: Entitlement, subscriptions: list[Subscription], at: datetime) -> None:
    """Refuse a moment before the open period of a subscription that bills the right's usage.

    What closed periods were billed would no longer be what their usage and units come to.
    """
    prices = set(EntitlementMeter.objects.filter(entitlement=row).values_list("price_id", flat=True))
    revisions = {key for one in subscriptions for key in one.price_revision_ids}
    billing = set(PriceRevision.objects.filter(pk__in=revisions, price__in=prices).values_list("pk", flat=True))
    for one in subscriptions:
        start = one.period_start
        if start is not None and at < floor_minute(start) and billing & set(one.price_revision_ids):
            message = f"The time before {format_instant(start)} is billed; a reset must lie in the open period."
            raise InvalidError(message, errors=[FieldError("effectiveAt", message, "invalid")])


def _preserves(row: Entitlement, terms: ResetTerms) -> bool:
    return row.preserves_overage if terms.preserves_overage is None else terms.preserves_overage


def _is_same(known: UsageReset, row: Entitlement, terms: ResetTerms) -> bool:
    """Whether a repeated call asks for the reset that is there; a moment that was left to us is any."""
    asked = None if terms.effective_at is None else floor_minute(terms.effective_at)
    was = (known.retains_anchor, known.preserves_overage, known.reason)
    return was == (terms.retains_anchor, _preserves(row, terms), terms.reason) and asked in (None, known.effective_at)
