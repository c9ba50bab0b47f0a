"""Which edition of a plan's price set is the one it sells."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from apps.catalog.events import PlanDefaultVersionChanged
from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, PlanVersionStatus, Price
from apps.catalog.selectors.spend import SpendAmount, spend_of_version
from apps.catalog.services.plans import NewAllocations, NewThresholds, PlanLine, Unchanged, let_follow, mint_version
from apps.catalog.services.prices import swap_terms
from apps.catalog.services.spend import merged
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.outbox.services import publish


@transaction.atomic
def publish_version(
    *,
    plan_id: int,
    lines: Sequence[PlanLine],
    based_on: str | None,
    as_of: datetime,
    spend: Mapping[str, SpendAmount | None] | None = None,
    thresholds: NewThresholds = Unchanged.UNCHANGED,
    allocations: NewAllocations = Unchanged.UNCHANGED,
) -> PlanVersion:
    """Publish a complete price set as a plan's next version and sell it from now on.

    What changed follows from the keys: a key with another price replaces that line, a new key adds one, a key that is
    left out removes its line. Unless the plan says otherwise, a replaced price keeps its id and takes the new terms.

    Args:
        plan_id: the plan's key.
        lines: every price of the new version.
        based_on: public id of the version the set was made from; None writes it whatever was published meanwhile.
        as_of: when.
        spend: changed commitments and caps by kind, None takes one away; what is not named stays.
        thresholds: at which usage is billed early; unchanged, those of the version before.
        allocations: credits that it gives; unchanged, those of the version before.

    Raises:
        ConflictError: the plan's default is another version than the one that the set was made from.
        InvalidError: no price is given, or prices do not fit; every bad field is named.
    """
    plan = _locked(plan_id)
    before = plan.default_version
    if based_on is not None and (before is None or before.public_id != based_on):
        current = before.public_id if before is not None else None
        raise ConflictError(
            f"The plan has moved on: its current version is {current}. Read it and apply the change to it.",
            code="PLAN_VERSION_CONFLICT",
            details={"currentVersionId": current, "basedOnVersionId": based_on},
        )
    if not lines:
        raise InvalidError(
            "A version has at least one price.", errors=[FieldError("prices", "Give every price.", "required")]
        )
    terms = merged(spend_of_version(before), spend or {})
    version = mint_version(
        plan=plan, lines=lines, as_of=as_of, spend=terms, thresholds=thresholds, allocations=allocations
    )
    _moved(plan, before, version)
    return version


@transaction.atomic
def make_default(*, plan_id: int, number: int, as_of: datetime) -> PlanVersion:
    """Sell a plan by one of its versions, older or newer; the one that is sold already stays as it is.

    Raises:
        PlanVersion.DoesNotExist: the plan has no such version.
        ConflictError: the version is archived.
    """
    plan = _locked(plan_id)
    version = PlanVersion.objects.get(plan=plan, number=number)
    before = plan.default_version
    if before == version:
        return version
    if version.status == PlanVersionStatus.ARCHIVED:
        raise ConflictError("The version is archived; publish its prices anew.", code="PLAN_VERSION_ARCHIVED")
    plan.default_version = version
    plan.save(update_fields=["default_version", "updated_at"])
    _moved(plan, before, version)
    publish(
        PlanDefaultVersionChanged(
            plan_id=plan.public_id, plan_version_id=version.public_id, version_number=version.number
        ),
        organization_id=plan.organization_id,
        object_id=plan.public_id,
        at=as_of,
    )
    return version


def _locked(plan_id: int) -> Plan:
    return Plan.objects.select_for_update(of=("self",)).select_related("default_version").get(pk=plan_id)


def _moved(plan: Plan, before: PlanVersion | None, after: PlanVersion) -> None:
    if before is not None and plan.stable_price_ids:
        _keep_ids(before, after)
    let_follow(plan.pk)


def _keep_ids(before: PlanVersion, after: PlanVersion) -> None:
    """Let the price ids that were sold stay sold: each replaced price takes the terms of its replacement.

    The replacement's id keeps the superseded terms, and every version keeps its terms, because its slots change
    their price along with it. A price that another plan sells as well, or that stands beside its replacement in one
    version, is left alone: there the replacement's id is sold.
    """
    incoming = {slot.key: slot.price_id for slot in after.slots.all()}
    for slot in before.slots.all():
        new = incoming.get(slot.key)
        if new is None or new == slot.price_id:
            continue
        pair = [slot.price_id, new]
        used = PlanVersionPrice.objects.filter(price_id__in=pair)
        versions = list(used.values_list("plan_version_id", flat=True))
        is_shared = used.exclude(plan_version__plan_id=after.plan_id).exists()
        is_gone = Price.objects.filter(Q(pk__in=pair), deleted_at__isnull=False).exists()
        if is_shared or is_gone or len(versions) != len(set(versions)):
            continue
        swap_terms(slot.price_id, new)
        mine = [row.pk for row in used if row.price_id == new]
        used.filter(price_id=slot.price_id).update(price_id=new)
        PlanVersionPrice.objects.filter(pk__in=mine).update(price_id=slot.price_id)
