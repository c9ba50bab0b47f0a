"""Wiping what a merchant tried in a test environment: all of it, or what one customer did."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pgtrigger
from django.apps import apps as installed
from django.db import IntegrityError, connection, models, transaction

from apps.catalog.models import Coupon
from apps.customers.models import Customer
from apps.documents.models import Logo
from apps.invoicing.models import AppliedCoupon
from apps.kernel.errors import ConflictError, ForbiddenError
from apps.metering.models import Dimension, MeterEvent, Subject
from apps.metering.selectors.links import find_customer_subjects
from apps.metering.services.merge import drain
from apps.organizations.models import IdempotencyRecord, Organization

# What was tried, by app; who may sign in stays, and so does what says how to bill.
TRIED = ("documents", "invoicing", "entitlements", "subscriptions", "metering", "outbox")
CATALOG = ("catalog", "taxes")
# Nobody waits for the exact number of millions of events.
COUNTED = 10_000

# Tables that no model stands for.
OF_MERCHANT = (
    "DELETE FROM metering_windowvalue WHERE metric_id IN"
    " (SELECT id FROM catalog_billablemetric WHERE organization_id = %(organization)s)",
    "DELETE FROM metering_windowgone WHERE metric_id IN"
    " (SELECT id FROM catalog_billablemetric WHERE organization_id = %(organization)s)",
    "DELETE FROM metering_key WHERE organization_id = %(organization)s",
    "DELETE FROM metering_storechange WHERE organization_id = %(organization)s",
)
OF_SUBJECT = (
    "DELETE FROM metering_key AS k USING metering_event AS e WHERE e.subject_id = %(subject)s"
    " AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s"
    " AND k.organization_id = e.organization_id AND k.public_id = e.public_id",
    *(
        f"DELETE FROM {table} WHERE subject_id = %(subject)s AND occurred_at >= %(start)s AND occurred_at < %(end)s"
        for table in ("metering_event", "metering_parkedevent")
    ),
    "DELETE FROM metering_windowvalue WHERE subject_id = %(subject)s AND hour >= %(start)s AND hour < %(end)s",
    "DELETE FROM metering_windowgone WHERE subject_id = %(subject)s AND hour >= %(start)s AND hour < %(end)s",
    "DELETE FROM metering_window WHERE subject_id = %(subject)s AND hour >= %(start)s AND hour < %(end)s",
)


def reset_merchant(*, organization_id: int, keep_catalog: bool) -> None:
    """Delete all customers of a merchant with everything they did, and the catalog unless it is kept. Twice is fine.

    Who may sign in, API keys, names of meter subjects and exported files stay.

    Raises:
        ForbiddenError: the merchant is no test environment.
        ConflictError: something was written meanwhile; nothing is deleted.
    """
    drain()
    with _wiping(organization_id), connection.cursor() as cursor:
        for statement in OF_MERCHANT:
            cursor.execute(statement, {"organization": organization_id})
        _delete_of([*_of_merchant(keep_catalog), IdempotencyRecord], Organization, organization_id)
        _count_redemptions(organization_id)


def reset_customer(*, customer: Customer) -> None:
    """Delete what a customer did: subscriptions, usage, rights, invoices and documents. Twice is fine.

    The customer itself stays, with its details and tax exemptions, to begin anew.

    Raises:
        ForbiddenError: the merchant is no test environment.
        ConflictError: something was written meanwhile; nothing is deleted.
    """
    drain()
    with _wiping(customer.organization_id), connection.cursor() as cursor:
        for span in find_customer_subjects(
            organization_id=customer.organization_id, customer_public_id=customer.public_id
        ):
            # Of an external id that moved, only the hours that were wholly this customer's.
            values = {"subject": span.subject, "start": span.start or "-infinity", "end": span.end or "infinity"}
            for statement in OF_SUBJECT:
                cursor.execute(statement, values)
        _delete_of(_models(TRIED), Customer, customer.pk)
        _count_redemptions(customer.organization_id)


def rows_of_merchant(*, organization_id: int, keep_catalog: bool) -> dict[type[models.Model], int]:
    """Give how many rows of each model a reset of a merchant would delete now, counted up to one above `COUNTED`."""
    return _count_of(_of_merchant(keep_catalog), Organization, organization_id)


def rows_of_customer(*, customer: Customer) -> dict[type[models.Model], int]:
    """Give how many rows of each model a reset of a customer would delete now, counted in the same way."""
    found = _count_of(_models(TRIED), Customer, customer.pk)
    spans = find_customer_subjects(organization_id=customer.organization_id, customer_public_id=customer.public_id)
    events = 0
    for span in spans:
        rows = MeterEvent.objects.filter(subject_id=span.subject)
        rows = rows.filter(occurred_at__gte=span.start) if span.start else rows
        rows = rows.filter(occurred_at__lt=span.end) if span.end else rows
        events += rows.order_by()[: COUNTED + 1].count()
    return found | ({MeterEvent: min(events, COUNTED + 1)} if events else {})


def _of_merchant(keep_catalog: bool) -> list[type[models.Model]]:
    """Give the models whose rows a reset of a merchant deletes."""
    # Processes remember the numbers of names; a name without events tells nothing.
    kept = {Subject, Logo, *((Dimension,) if keep_catalog else ())}
    found = [model for model in _models((*TRIED, "customers", *CATALOG)) if model not in kept]
    if not keep_catalog:
        return found
    # What is of customers goes with them, such as exemptions from taxes.
    return [model for model in found if model._meta.app_label not in CATALOG or _path(model, Customer) is not None]


def _count_of(
    found: Iterable[type[models.Model]], owner: type[models.Model], key: int
) -> dict[type[models.Model], int]:
    counted = {
        model: model._base_manager.filter(**{path: key}).order_by()[: COUNTED + 1].count()
        for model in found
        if (path := _path(model, owner)) is not None
    }
    return {model: count for model, count in counted.items() if count}


@contextmanager
def _wiping(organization_id: int) -> Iterator[None]:
    """Do all or nothing, in a test environment."""
    try:
        with transaction.atomic():
            row = Organization.objects.select_for_update().get(pk=organization_id)
            if row.environment != "test":
                raise ForbiddenError("Only a test environment can be reset.", reason="not_a_test_environment")
            with connection.cursor() as cursor:
                # Also where the caller's transaction has checked something already.
                cursor.execute("SET CONSTRAINTS ALL DEFERRED")
                yield
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except IntegrityError:
        raise ConflictError(
            "Something was written meanwhile, so nothing is deleted; try again.", code="RESET_DISTURBED"
        ) from None


def _models(labels: Iterable[str]) -> list[type[models.Model]]:
    return [model for label in labels for model in installed.get_app_config(label).get_models()]


def _delete_of(found: Iterable[type[models.Model]], owner: type[models.Model], key: int) -> None:
    """Delete the rows of models that lead to an owner, those that are found through others first.

    One statement for each model; references are checked at the end.
    """
    paths = [(path, model) for model in found if (path := _path(model, owner)) is not None]
    # Nothing is too frozen to be deleted here, and no history is kept of it.
    with pgtrigger.ignore():
        for path, model in sorted(paths, key=lambda row: row[0].count("__"), reverse=True):
            rows = model._base_manager.filter(**{path: key})
            rows._raw_delete(rows.db)


def _count_redemptions(organization_id: int) -> None:
    """Let coupons that stay be redeemed as often as before."""
    for coupon in Coupon.objects.filter(organization_id=organization_id, redemption_count__gt=0):
        coupon.redemption_count = AppliedCoupon.objects.filter(coupon=coupon).count()
        coupon.save(update_fields=["redemption_count", "updated_at"])


def _path(model: type[models.Model], owner: type[models.Model]) -> str | None:
    """Give the shortest way from a model to its owner along what it refers to; None where there is none.

    What every row refers to goes before what only some do: by the latter not all rows are found.
    """
    return _shortest(model, owner, through_optional=False) or _shortest(model, owner, through_optional=True)


def _shortest(model: type[models.Model], owner: type[models.Model], *, through_optional: bool) -> str | None:
    reached: list[tuple[type[models.Model], str]] = [(model, "")]
    seen = {model}
    for here, path in reached:
        for field in here._meta.concrete_fields:
            target = field.related_model
            if field.attname == f"{owner._meta.model_name}_id" and not field.is_relation:
                # A table of events holds the plain number.
                return f"{path}{field.attname}"
            if not isinstance(target, type):
                continue
            if target is owner and field.name == owner._meta.model_name:
                return f"{path}{field.name}"
            if field.null and not through_optional:
                continue
            if target not in seen and target is not Organization and target.__module__.startswith("apps."):
                seen.add(target)
                reached.append((target, f"{path}{field.name}__"))
    return None
