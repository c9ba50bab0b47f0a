"""The demo merchant out of the box: every invoice that it issued leaves as an e-invoice that the rules accept."""

from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from apps.documents.services.einvoices import get_facturx, get_ubl
from apps.invoicing.management.seed import made_traffic
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.organizations.models import Organization
from tests.documents.rules import problems

pytestmark = pytest.mark.django_db


def little(subject: str, start: datetime, *, hours: int, per_hour: int, seed: int) -> Iterator[dict[str, Any]]:
    """Give traffic of the demo's kind, but not much."""
    return made_traffic(subject, start, hours=4, per_hour=2, seed=seed)


def test_every_issued_invoice_is_a_valid_e_invoice(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VAR_DIR = settings.SHARED_DIR = tmp_path
    monkeypatch.setattr("apps.invoicing.management.seed.made_traffic", little)
    call_command("demo", json=True, stdout=StringIO())
    merchant = Organization.objects.get(name="Northlight AI")
    issued = list(with_neighbours(Invoice.objects.filter(organization=merchant, number__isnull=False)))
    assert len(issued) > 10
    categories = set()
    for invoice in issued:
        made = get_ubl(invoice)
        assert problems(made, "ubl") == [], invoice
        categories |= set(invoice.lines.values_list("tax_treatment__category", flat=True))
    # At home, a business of another member state, and beyond the Union.
    assert categories == {"S", "AE", "O"}
    for category in categories:
        one = next(row for row in issued if row.lines.filter(tax_treatment__category=category).exists())
        assert get_facturx(one).startswith(b"%PDF")
