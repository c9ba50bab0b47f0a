from apps.documents.models.parties import InvoiceParties, Logo, PartyFacts
from apps.documents.models.stored import CreditNoteDocument, DocumentFormat, InvoiceDocument

__all__ = ["CreditNoteDocument", "DocumentFormat", "InvoiceDocument", "InvoiceParties", "Logo", "PartyFacts"]
