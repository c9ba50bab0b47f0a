"""Decisions about tax, kept once for all lines they are of."""

from collections.abc import Iterable

from apps.taxes.domain.treatment import Treatment
from apps.taxes.models import TaxTreatment


def keep_treatments(wanted: Iterable[tuple[int, Treatment]]) -> dict[tuple[int, Treatment], int]:
    """Give the rows of decisions, making those that are new (caller's transaction).

    Args:
        wanted: organization key and decision, each once or oftener.
    """
    digests = {key: key[1].digest for key in set(wanted)}
    if not digests:
        return {}
    known = _known(digests)
    missing = {key: digest for key, digest in digests.items() if (key[0], digest) not in known}
    if missing:
        TaxTreatment.objects.bulk_create(
            [
                TaxTreatment(
                    organization_id=organization_id,
                    digest=digest,
                    category=made.category,
                    basis=made.basis,
                    jurisdiction=made.jurisdiction,
                    rate=made.rate,
                    percents=list(made.percents),
                    facts=made.as_facts(),
                )
                # In one order, so that two that make the same at once wait for each other.
                for (organization_id, made), digest in sorted(missing.items(), key=lambda item: item[1])
            ],
            ignore_conflicts=True,
        )
        known = _known(digests)
    return {key: known[key[0], digest] for key, digest in digests.items()}


def _known(digests: dict[tuple[int, Treatment], str]) -> dict[tuple[int, str], int]:
    rows = TaxTreatment.objects.filter(
        organization_id__in={key[0] for key in digests}, digest__in=set(digests.values())
    )
    return {(row[0], row[1]): row[2] for row in rows.values_list("organization_id", "digest", "pk")}
