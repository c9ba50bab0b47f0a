"""The formats in which an invoice leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apps.documents.models import DocumentFormat
from apps.documents.services.einvoices import get_cii, get_facturx, get_ubl
from apps.documents.services.rendering import get_pdf
from apps.invoicing.models import Invoice


@dataclass(frozen=True, slots=True)
class Format:
    """How a document is called, and what makes it of an invoice that was read with its neighbours."""

    words: str
    media_type: str
    suffix: str
    make: Callable[[Invoice], bytes]


FORMATS: Mapping[str, Format] = {
    DocumentFormat.PDF: Format("PDF", "application/pdf", ".pdf", get_pdf),
    DocumentFormat.FACTURX: Format("Factur-X", "application/pdf", "-facturx.pdf", get_facturx),
    DocumentFormat.UBL: Format("UBL", "application/xml", "-ubl.xml", get_ubl),
    DocumentFormat.CII: Format("CII", "application/xml", "-cii.xml", get_cii),
}
