from apps.documents.admin.documents import InvoiceDocumentAdmin
from apps.documents.admin.parties import InvoicePartiesAdmin, LogoAdmin, PartyFactsAdmin

__all__ = ["InvoiceDocumentAdmin", "InvoicePartiesAdmin", "LogoAdmin", "PartyFactsAdmin"]
