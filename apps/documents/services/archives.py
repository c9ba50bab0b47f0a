"""The documents of a year in one file, written while it is read."""

import csv
import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, cast
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from apps.documents.services.credits import get_credit_document
from apps.documents.services.formats import FORMATS
from apps.invoicing.models import CreditNote, Invoice
from apps.invoicing.selectors.credits import credit_notes_of
from apps.invoicing.selectors.invoices import with_neighbours
from apps.kernel.errors import DomainError
from apps.kernel.money import format_amount
from apps.organizations.models import Organization

logger = logging.getLogger(__name__)

UNMADE = "It could not be made because of an error; the log says which."
FIRST_YEAR, LAST_YEAR = 1970, 9998
# A credit note is read with its lines, so fewer of them at once.
INVOICES_AT_ONCE, NOTES_AT_ONCE = 100, 10
# A longer index waits on disk until the documents are written.
INDEX_IN_MEMORY_BYTES = 1 << 20
COLUMNS = (
    "file", "document", "number", "issuedOn", "status", "customerId", "ofInvoice", "currency", "net", "tax", "total",
    "bytes", "sha256", "missing",
)  # fmt: skip
# The moments that a zip can tell.
FIRST_MOMENT, LAST_MOMENT = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Year:
    """What a merchant issued in a year of its own zone."""

    organization: Organization
    year: int

    @property
    def invoices(self) -> QuerySet[Invoice]:
        """Those with a number, in its order; what is on a document with others has none."""
        rows = Invoice.objects.filter(organization=self.organization, number__isnull=False, **self._issued)
        return with_neighbours(rows).order_by("pk")

    @property
    def credit_notes(self) -> QuerySet[CreditNote]:
        return credit_notes_of(organization_id=self.organization.pk).filter(**self._issued).order_by("pk")

    @property
    def is_empty(self) -> bool:
        return not self.invoices.exists() and not self.credit_notes.exists()

    def file_name(self, kind: str) -> str:
        return f"{self.organization.invoice_prefix}-{self.year}-{kind}.zip"

    @property
    def _issued(self) -> dict[str, datetime]:
        zone = ZoneInfo(self.organization.timezone)
        start, end = (datetime(year, 1, 1, tzinfo=zone).astimezone(UTC) for year in (self.year, self.year + 1))
        return {"issued_at__gte": start, "issued_at__lt": end}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One document of a year: what the index says of it, and what makes it.

    Attributes:
        of_invoice: the number that a credit note gives back of; empty for an invoice.
    """

    folder: str
    row: Invoice | CreditNote
    issued_at: datetime
    net: Decimal
    total: Decimal
    of_invoice: str
    make: Callable[[], bytes]


def zip_of_year(found: Year, *, kind: str) -> Iterator[bytes]:
    """Write the documents of a year into a zip, one after the other, so that a year of any size takes little memory.

    `index.csv` has a row for each with the digest of its file. What cannot be made is left out; there, and in
    `missing.txt`, stands which and why. The same documents make the same file.
    """
    zone, suffix = ZoneInfo(found.organization.timezone), FORMATS[kind].suffix
    sink = _Sink()
    with (
        zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED) as archive,
        _listing() as index,
        _listing() as missing,
    ):
        table = csv.writer(index)
        table.writerow(COLUMNS)
        for entry in _entries(found, kind):
            name, content, problem = f"{entry.folder}/{entry.row.number}{suffix}", b"", ""
            try:
                content = entry.make()
            except DomainError as error:
                problem = error.message
            # The answer has begun, so an error could only cut it short, and the year could never be had.
            except Exception:
                logger.exception("A document could not be put into an archive: %s", entry.row.public_id)
                problem = UNMADE
            if problem:
                missing.write(f"{entry.row.number}: {problem}\n")
            else:
                archive.writestr(_file_at(name, entry.issued_at), content)
                yield sink.taken()
            table.writerow(_described(entry, zone, name, content, problem))
        for name, listing in (("index.csv", index), ("missing.txt", missing)):
            if listing.tell():
                listing.seek(0)
                with archive.open(_file_at(name, FIRST_MOMENT), "w") as file:
                    while part := listing.read(INDEX_IN_MEMORY_BYTES):
                        file.write(part.encode())
                        yield sink.taken()
    yield sink.taken()


def _entries(found: Year, kind: str) -> Iterator[_Entry]:
    make = FORMATS[kind].make
    for invoice in found.invoices.iterator(chunk_size=INVOICES_AT_ONCE):
        assert invoice.issued_at is not None
        yield _Entry(
            "invoices", invoice, invoice.issued_at, invoice.subtotal, invoice.grand_total, "", partial(make, invoice)
        )
    for note in found.credit_notes.iterator(chunk_size=NOTES_AT_ONCE):
        made = partial(get_credit_document, note, kind)
        yield _Entry("credit-notes", note, note.issued_at, note.subtotal, note.total, note.invoice.number or "", made)


def _described(entry: _Entry, zone: ZoneInfo, name: str, content: bytes, problem: str) -> list[str | int]:
    """Give the row of the index."""
    row = entry.row
    file = ["", "", ""] if problem else [name, len(content), hashlib.sha256(content).hexdigest()]
    money = [format_amount(amount, row.currency) for amount in (entry.net, row.total_tax, entry.total)]
    return [
        file[0],
        "credit note" if isinstance(row, CreditNote) else "invoice",
        row.number or "",
        str(entry.issued_at.astimezone(zone).date()),
        row.get_status_display(),
        row.customer.public_id,
        entry.of_invoice,
        row.currency,
        *money,
        *file[1:],
        problem,
    ]


def _listing() -> IO[str]:
    """Give a text that is kept in memory while it is short."""
    return SpooledTemporaryFile(INDEX_IN_MEMORY_BYTES, "w+", encoding="utf-8", newline="")


def _file_at(name: str, moment: datetime) -> zipfile.ZipInfo:
    """Name a file of a zip; it is as old as what it is, so that the same documents make the same zip."""
    entry = zipfile.ZipInfo(name, min(max(moment, FIRST_MOMENT), LAST_MOMENT).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class _Sink:
    """A file that only grows, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        parts, self.parts = self.parts, []
        return b"".join(parts)
