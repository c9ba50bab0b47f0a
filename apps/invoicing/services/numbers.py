from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from apps.invoicing.domain.numbers import YEARLY, NumberFormat, format_problem
from apps.invoicing.models import DocumentKind, NumberingFormat, NumberSeries
from apps.invoicing.selectors.numbers import current_format, default_format
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.organizations.models import Organization


def next_number(*, organization: Organization, as_of: datetime, kind: str = "invoice", count: int = 1) -> list[str]:
    """Take the next document numbers of an organization's series, as its format writes them.

    The counter's row stays locked until the caller's transaction ends, and a rollback gives the numbers back:
    that is what makes them gapless. Take them last, so that others wait briefly.

    Args:
        organization: the issuer; its zone decides the year.
        as_of: the moment of issue.
        kind: what is numbered; each kind counts for itself.
        count: how many to take.
    """
    form = current_format(organization, kind)
    year = as_of.astimezone(ZoneInfo(organization.timezone)).year
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO invoicing_numberseries (organization_id, kind, key, year, last_number)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (organization_id, kind, key, year)
            DO UPDATE SET last_number = invoicing_numberseries.last_number + excluded.last_number
            RETURNING last_number
            """,
            [organization.pk, kind, form.key, year if form.resets == YEARLY else 0, count],
        )
        last = cursor.fetchone()[0]
    return [form.write(year, n) for n in range(last - count + 1, last + 1)]


@transaction.atomic
def set_number_formats(
    *, organization: Organization, formats: Mapping[str, NumberFormat], fields: Mapping[str, str]
) -> None:
    """Set the formats of several kinds, all or none; see `set_number_format`.

    Args:
        organization: the issuer.
        formats: by kind.
        fields: how the caller calls them, for refusals.
    """
    for kind, form in formats.items():
        set_number_format(
            organization=organization, kind=kind, text=form.text, resets=form.resets, field=fields[kind]
        )


@transaction.atomic
def set_number_format(
    *, organization: Organization, kind: str, text: str, resets: str = YEARLY, field: str = "format"
) -> NumberingFormat:
    """Number what is issued from now on by a format; issued documents keep their numbers. Twice is fine.

    A format that was used before goes on where it was; it may have more or fewer digits then. Another begins at 1.

    Raises:
        InvalidError: it does not make a number of its own for each document; the field says why.
        ConflictError: it could repeat numbers that another format gave or gives.
    """
    problem = format_problem(text, resets)
    if problem is not None:
        raise InvalidError("The format is malformed.", errors=[FieldError(field, problem, "invalid")])
    # The merchant's row serialises two that set one at once.
    organization = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    _keep_defaults(organization)
    wanted = NumberFormat(text, resets)
    row = NumberingFormat.objects.filter(organization=organization, shape=wanted.shape).first()
    if row is not None:
        known = NumberFormat(row.text, row.resets)
        if (row.kind, known.key, known.resets) != (kind, wanted.key, wanted.resets):
            of = DocumentKind(row.kind).label.lower()
            anew = "begins anew each year" if known.resets == YEARLY else "never begins anew"
            raise ConflictError(
                f"Its numbers could repeat those of {known.text}, which {anew} and is of {of}; add a letter to it.",
                code="NUMBER_FORMAT_TAKEN",
                details={"format": known.text, "of": row.kind, "resets": known.resets},
            )
    others = NumberingFormat.objects.filter(organization=organization, kind=kind, is_current=True)
    others.exclude(shape=wanted.shape).update(is_current=False)
    row = row or NumberingFormat(organization=organization, kind=kind, shape=wanted.shape)
    row.text, row.resets, row.is_current = text, resets, True
    row.save()
    return row


def _keep_defaults(organization: Organization) -> None:
    """Write down the formats by which documents were numbered while none was set, so that none of them repeats."""
    used = NumberSeries.objects.filter(organization=organization).values_list("kind", "key")
    known = set(NumberingFormat.objects.filter(organization=organization).values_list("shape", flat=True))
    current = dict(
        NumberingFormat.objects.filter(organization=organization, is_current=True).values_list("kind", "pk")
    )
    for kind in DocumentKind.values:
        form = default_format(organization, kind)
        keys = {key for of, key in used if of == kind}
        if kind not in current and form.shape not in known:
            known.add(form.shape)
            NumberingFormat.objects.create(
                organization=organization, kind=kind, text=form.text, resets=form.resets, shape=form.shape
            )
            keys.discard(form.key)
        for key in sorted(keys):
            # Prefixes of before: what they numbered stays numbered.
            earlier = NumberFormat(key, YEARLY)
            if earlier.shape not in known:
                known.add(earlier.shape)
                NumberingFormat.objects.create(
                    organization=organization, kind=kind, text=key, resets=YEARLY, shape=earlier.shape,
                    is_current=False,
                )  # fmt: skip
