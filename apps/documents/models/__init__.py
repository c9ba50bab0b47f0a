from apps.documents.models.parties import InvoiceParties, Logo, PartyFacts
from apps.documents.models.stored import DocumentFormat, InvoiceDocument

__all__ = ["DocumentFormat", "InvoiceDocument", "InvoiceParties", "Logo", "PartyFacts"]
