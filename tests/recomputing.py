"""Whatever a test issued is worked out again from the provenance of its lines, as the API gives it."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection
from psycopg.pq import TransactionStatus

from apps.invoicing.api.outputs import render_invoice_line
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import stored_lines, with_neighbours
from tests.provenance import BY_QUANTITY, LOOKING_AT_EVENTS, Recomputed, recompute_invoice

# Some tests bill thousands; of these a sample says enough.
MOST = 60


@pytest.fixture(autouse=True)
def _issued_is_recomputed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Work out again what a test issued, when it is over and still there."""
    marker = request.node.get_closest_marker("django_db")
    if marker is not None:
        request.getfixturevalue("transactional_db" if marker.kwargs.get("transaction") else "db")
    yield
    if marker is not None and not _is_broken():
        for invoice in with_neighbours(Invoice.objects.filter(number__isnull=False)).order_by("-pk")[:MOST]:
            check_invoice(invoice)


def _is_broken() -> bool:
    """Whether the test left its transaction as one that can only be rolled back."""
    is_aborted = connection.connection is not None and (
        connection.connection.info.transaction_status == TransactionStatus.INERROR
    )
    return connection.needs_rollback or is_aborted


def check_invoice(invoice: Invoice) -> list[Recomputed]:
    """Compare the lines of an issued invoice with what their provenance comes to; gives the latter."""
    lines = [
        render_invoice_line(invoice, line, {}, with_provenance=True)
        for line in stored_lines(invoice).select_related("invoice__subscription__plan")
    ]
    return check_lines(lines)


def check_lines(lines: list[dict[str, Any]]) -> list[Recomputed]:
    """As `check_invoice`, of the lines as the API gives them."""
    if not all(_is_known(line["provenance"]) for line in lines):
        return []
    found = recompute_invoice([line["provenance"] for line in lines])
    for line, own in zip(lines, found, strict=True):
        billed = tuple(
            Fraction(str(line[name])) for name in ("quantity", "unitPrice", "totalPrice", "totalTax", "totalAmount")
        )
        assert billed == (own.quantity, own.unit_price, own.net, own.tax, own.net + own.tax), line
        said = line["provenance"]["result"]
        assert Decimal(said["amount"]) == Decimal(own.gross.numerator) / own.gross.denominator, line
    return found


def _is_known(provenance: dict[str, Any]) -> bool:
    """Whether a line was calculated at all, and by a price that the tests know the rules of."""
    if "steps" not in provenance:
        return False
    priced = [step["in"]["model"] for step in provenance["steps"] if step["op"] == "evaluate"]
    return set(priced) <= {*BY_QUANTITY, *LOOKING_AT_EVENTS}
