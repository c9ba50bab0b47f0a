"""Units given to an entitlement: granted, voided, taken along."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from apps.entitlements.domain.engine import Balances
from apps.entitlements.events import GrantCreated, GrantVoided
from apps.entitlements.models import Entitlement, Grant
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.money import EXACT, round_to
from apps.outbox.services import Announcement, publish_all

# Who else has keys of an entitlement: what is about to be bought, which a higher app knows.
_key_holders: list[Callable[[int, str], bool]] = []


def register_key_holder(holds: Callable[[int, str], bool]) -> None:
    """Let a higher app tell whether an idempotency key of an entitlement (by its key) is used already."""
    _key_holders.append(holds)


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is granted.

    Attributes:
        rollover_max: None keeps all of it at resets.
        recurrence: ISO 8601; empty fills it up once.
        price: what was paid for all of it, major units; None gives it.
        unit_price: what each unit was bought for, kept as it was then.
    """

    amount: Decimal
    idempotency_key: str
    effective_at: datetime
    expires_at: datetime | None = None
    priority: int = 0
    rollover_min: Decimal = Decimal(0)
    rollover_max: Decimal | None = None
    recurrence: str = ""
    price: Decimal | None = None
    unit_price: Decimal | None = None
    currency: str = ""
    invoice_reference: str = ""


@transaction.atomic
def create_grant(
    *, entitlement_id: int, terms: GrantTerms, as_of: datetime, is_effective_given: bool = True
) -> tuple[Grant, bool]:
    """Give units to an entitlement, or to the pool it shows, or give the grant that the same key made before.

    Args:
        is_effective_given: whether the caller named the start; where not, a repeat is the same whenever it comes.

    Returns:
        The grant, and whether it is new.

    Raises:
        ConflictError: the key made another grant, the right is over, or it is not metered.
        InvalidError: nothing is granted, or the expiry does not lie after the start.
    """
    pool_id = Entitlement.objects.values_list("pool_id", flat=True).get(pk=entitlement_id)
    row = Entitlement.objects.select_for_update().get(pk=pool_id or entitlement_id)
    known = Grant.objects.filter(entitlement=row, idempotency_key=terms.idempotency_key).first()
    if known is not None:
        if not _is_same(known, terms, is_effective_given=is_effective_given):
            raise ConflictError(
                "This idempotency key belongs to another grant; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
            )
        return known, False
    # What is bought has the key of its purchase.
    if terms.price is None and any(holds(row.pk, terms.idempotency_key) for holds in _key_holders):
        raise ConflictError(
            "This idempotency key belongs to a purchase; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        )
    require_grantable(row, as_of)
    if terms.amount <= 0:
        message = "Give an amount above 0."
        raise InvalidError(message, errors=[FieldError("amount", message, "invalid")])
    if terms.expires_at is not None and terms.expires_at <= terms.effective_at:
        message = "The expiry must lie after the start."
        raise InvalidError(message, errors=[FieldError("expiresAt", message, "invalid")])
    try:
        with transaction.atomic():
            grant = _store(row, terms, as_of)
    except IntegrityError as error:
        if "grant_key_once" not in str(error):
            raise
        raise ConflictError(
            "This idempotency key belongs to another grant; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        ) from None
    created = GrantCreated(grant.public_id, row.public_id, grant.amount, grant.effective_at)
    publish_all([Announcement(created, row.organization_id, grant.public_id, as_of)])
    return grant, True


def require_grantable(row: Entitlement, as_of: datetime) -> None:
    """Refuse units where nothing could use them.

    Raises:
        ConflictError: the right is over, or it is not metered.
    """
    if not row.is_metered:
        raise ConflictError("Only a metered entitlement takes grants.", code="ENTITLEMENT_NOT_METERED")
    if row.active_to is not None and row.active_to <= as_of:
        raise ConflictError("The entitlement is over; no grant can be used.", code="ENTITLEMENT_NOT_ACTIVE")


@transaction.atomic
def void_grant(*, grant_id: int, as_of: datetime) -> Grant:
    """Take back what is left of a grant; what was used stays used. Twice is fine."""
    entitlement_id = Grant.objects.values_list("entitlement_id", flat=True).get(pk=grant_id)
    # The right before its grants, as everywhere.
    row = Entitlement.objects.select_for_update().get(pk=entitlement_id)
    grant = Grant.objects.select_for_update(of=("self",)).select_related("entitlement").get(pk=grant_id)
    if grant.voided_at is None:
        grant.voided_at = as_of
        grant.save(update_fields=["voided_at", "updated_at"])
        voided = GrantVoided(grant.public_id, row.public_id, as_of)
        publish_all([Announcement(voided, row.organization_id, grant.public_id, as_of)])
    return grant


def carry_grants(old: Entitlement, new: Entitlement, *, left: Balances, at: datetime) -> int:
    """Take what is left of grants along to the right that takes another's place (caller's transaction).

    What was bought keeps its price: each unit that is left costs what it cost.

    Args:
        left: of the old right at that moment, by grant.
    """
    rows = list(Grant.objects.filter(entitlement=old, voided_at__isnull=True).order_by("pk"))
    if not rows or not new.is_metered:
        return 0
    carried = 0
    for row in rows:
        if row.expires_at is not None and row.expires_at <= at:
            continue
        rest = row.amount if row.effective_at >= at or row.recurrence else left.get(row.public_id, Decimal(0))
        if rest <= 0:
            continue
        copy = Grant(
            organization_id=row.organization_id,
            entitlement=new,
            amount=rest,
            priority=row.priority,
            granted_at=row.granted_at,
            effective_at=max(row.effective_at, at),
            expires_at=row.expires_at,
            recurrence=row.recurrence,
            rollover_min=row.rollover_min,
            rollover_max=row.rollover_max,
            idempotency_key=row.idempotency_key,
            price=None if row.unit_price is None else round_to(EXACT.multiply(row.unit_price, rest), 9),
            unit_price=row.unit_price,
            currency=row.currency,
            invoice_reference=row.invoice_reference,
        )
        copy.save()
        carried += 1
    return carried


def _store(row: Entitlement, terms: GrantTerms, as_of: datetime) -> Grant:
    return Grant.objects.create(
        organization_id=row.organization_id,
        entitlement=row,
        amount=terms.amount,
        priority=terms.priority,
        granted_at=as_of,
        effective_at=terms.effective_at,
        expires_at=terms.expires_at,
        recurrence=terms.recurrence,
        rollover_min=terms.rollover_min,
        rollover_max=terms.rollover_max,
        idempotency_key=terms.idempotency_key,
        price=terms.price,
        unit_price=terms.unit_price,
        currency=terms.currency,
        invoice_reference=terms.invoice_reference,
    )


def _is_same(known: Grant, terms: GrantTerms, *, is_effective_given: bool) -> bool:
    """Whether a repeated call asks for the grant that is there; a start that was left to us is any."""
    was = (known.amount, known.priority, known.expires_at, known.rollover_min, known.rollover_max, known.recurrence)
    now = (
        terms.amount, terms.priority, terms.expires_at, terms.rollover_min, terms.rollover_max, terms.recurrence,
    )  # fmt: skip
    is_start_same = not is_effective_given or known.effective_at == terms.effective_at
    return was == now and known.price == terms.price and is_start_same
