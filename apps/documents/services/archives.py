"""Many documents in one file, written while it is read."""

import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, cast
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.kernel.errors import DomainError
from apps.organizations.models import Organization

CHUNK = 100


def invoices_of_year(*, organization: Organization, year: int) -> QuerySet[Invoice]:
    """Give the invoices a merchant issued in a year of its own zone, in the order of their numbers."""
    zone = ZoneInfo(organization.timezone)
    start, end = datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone)
    rows = Invoice.objects.filter(
        organization=organization,
        number__isnull=False,
        issued_at__gte=start.astimezone(UTC),
        issued_at__lt=end.astimezone(UTC),
    )
    return with_neighbours(rows).order_by("pk")


def zip_of(invoices: QuerySet[Invoice], *, make: Callable[[Invoice], bytes], suffix: str) -> Iterator[bytes]:
    """Write documents into a zip, one after the other, so that a year of any size takes little memory.

    What cannot be made is left out, and `missing.txt` says which and why.
    """
    sink = _Sink()
    missing = []
    with zipfile.ZipFile(cast("IO[bytes]", sink), "w", zipfile.ZIP_DEFLATED) as archive:
        for invoice in invoices.iterator(chunk_size=CHUNK):
            try:
                content = make(invoice)
            except DomainError as error:
                missing.append(f"{invoice.number}: {error.message}")
                continue
            # The date of issue, so that the same documents make the same file.
            assert invoice.issued_at is not None
            entry = zipfile.ZipInfo(f"{invoice.number}{suffix}", invoice.issued_at.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
            yield sink.taken()
        if missing:
            archive.writestr(zipfile.ZipInfo("missing.txt"), "\n".join(missing) + "\n")
    yield sink.taken()


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
