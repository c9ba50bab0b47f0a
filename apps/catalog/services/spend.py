"""Writing commitments and caps down, on versions of plans and revisions of prices."""

from collections.abc import Mapping
from decimal import Decimal

from apps.catalog.domain.cadences import find_cadence_problem
from apps.catalog.models import PlanVersion, PriceRevision, SpendKind, SpendTerms
from apps.catalog.selectors.spend import Spend, SpendAmount
from apps.kernel.errors import FieldError
from apps.kernel.money import minor_digits

# What the wire calls them.
FIELDS = {SpendKind.COMMITMENT.value: "minimumCommitment", SpendKind.CAP.value: "spendCap"}
LARGEST = Decimal("1e15")


def put_on_version(version: PlanVersion, spend: Spend) -> None:
    """Give a new version its commitments and caps (caller's transaction)."""
    SpendTerms.objects.bulk_create(
        SpendTerms(
            organization_id=version.organization_id,
            plan_version=version,
            kind=kind,
            amount=terms.amount,
            cadence=terms.cadence,
        )
        for kind, terms in spend.items()
    )


def put_on_revision(revision: PriceRevision, spend: Spend, *, organization_id: int) -> None:
    """Give a new revision its commitments and caps (caller's transaction)."""
    SpendTerms.objects.bulk_create(
        SpendTerms(
            organization_id=organization_id,
            price_revision=revision,
            kind=kind,
            amount=terms.amount,
            cadence=terms.cadence,
        )
        for kind, terms in spend.items()
    )


def merged(present: Spend, changes: Mapping[str, SpendAmount | None]) -> Spend:
    """Give what holds after a change: what is not named stays, None takes away."""
    both = {**present, **changes}
    return {kind: terms for kind, terms in both.items() if terms is not None}


def spend_errors(spend: Spend, *, currency: str | None = None, cadence: str = "") -> list[FieldError]:
    """Check commitments and caps.

    Args:
        currency: of the plan, which decides the minor unit; a price has none of its own.
        cadence: what an empty one stands for.
    """
    errors = []
    for kind, terms in spend.items():
        errors.extend(amount_errors(kind, terms, currency=currency))
    least, most = spend.get(SpendKind.COMMITMENT), spend.get(SpendKind.CAP)
    if least and most and (least.cadence or cadence) == (most.cadence or cadence) and least.amount > most.amount:
        message = "The cap is below the commitment of the same period."
        errors.append(FieldError(f"{FIELDS[SpendKind.CAP]}.amount", message, "invalid"))
    return errors


def amount_errors(
    kind: str, terms: SpendAmount, *, currency: str | None, field: str | None = None
) -> list[FieldError]:
    """Check one commitment or cap.

    Args:
        field: what the wire calls it, where that is not its kind.
    """
    prefix = FIELDS[kind] if field is None else field
    path = f"{prefix}." if prefix else ""
    errors = []
    if terms.amount < 0 or terms.amount >= LARGEST or (kind == SpendKind.COMMITMENT and not terms.amount):
        errors.append(FieldError(f"{path}amount", "Give an amount above 0; a cap may be 0.", "out_of_range"))
    elif currency is not None and terms.amount != round(terms.amount, minor_digits(currency)):
        errors.append(FieldError(f"{path}amount", "Give whole minor units of the currency.", "invalid"))
    problem = find_cadence_problem(terms.cadence) if terms.cadence else None
    if problem is not None:
        errors.append(FieldError(f"{path}cadence", problem, "invalid"))
    return errors
