"""What documents say of an organization: its address, its ids, its account."""

from collections.abc import Callable, Mapping

from django.db import transaction

from apps.kernel.errors import FieldError, InvalidError
from apps.organizations.domain.identifiers import bic_problem, compact, iban_problem, vat_id_problem
from apps.organizations.models import Organization

# Ids that are kept without blanks, and what is wrong with one.
CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "vat_id": vat_id_problem,
    "iban": iban_problem,
    "bic": bic_problem,
}


@transaction.atomic
def update_details(
    *, organization_id: int, changes: Mapping[str, str], names: Mapping[str, str] | None = None
) -> Organization:
    """Change what documents that are issued from now on say; issued ones keep what they say.

    Args:
        organization_id: whose.
        changes: columns with their new text.
        names: how the caller calls the columns, for refusals.

    Raises:
        InvalidError: an id cannot be right; every bad one is named.
    """
    wanted = {name: compact(text) if name in CHECKS else text for name, text in changes.items()}
    errors = [
        FieldError((names or {}).get(name, name), problem, "invalid")
        for name, text in wanted.items()
        if name in CHECKS and text and (problem := CHECKS[name](text)) is not None
    ]
    if errors:
        raise InvalidError("Some ids cannot be right.", errors=errors)
    organization = Organization.objects.select_for_update().get(pk=organization_id)
    for name, text in wanted.items():
        setattr(organization, name, text)
    organization.save()
    return organization
