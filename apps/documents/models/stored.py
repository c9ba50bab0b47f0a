import pgtrigger
from django.db import models


class DocumentFormat(models.TextChoices):
    PDF = "pdf", "PDF"
    FACTURX = "facturx", "Factur-X"
    CII = "cii", "CII"
    UBL = "ubl", "UBL"


class KeptDocument(models.Model):
    """A document as it was first given out; who asks again gets the very same bytes."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    format = models.CharField(max_length=8, choices=DocumentFormat)
    source_digest = models.CharField(max_length=64, help_text="SHA-256 of what it was made from.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the document.")
    size_bytes = models.PositiveIntegerField()
    content = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class InvoiceDocument(KeptDocument):
    """A document of an issued invoice."""

    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            # Also serves "is it made already".
            models.UniqueConstraint(fields=["invoice", "format"], name="invoicedocument_once"),
        ]
        # Serves the list of documents.
        indexes = [models.Index(fields=["organization", "-id"], name="invoicedocument_list")]
        triggers = [pgtrigger.Protect(name="document_never_changes", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.invoice} · {self.get_format_display()}"


class CreditNoteDocument(KeptDocument):
    """A document of an issued credit note; one that is voided later keeps what the customer had of it."""

    credit_note = models.ForeignKey("invoicing.CreditNote", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            # Also serves "is it made already".
            models.UniqueConstraint(fields=["credit_note", "format"], name="creditdocument_once"),
        ]
        # Serves the list of documents.
        indexes = [models.Index(fields=["organization", "-id"], name="creditdocument_list")]
        triggers = [
            pgtrigger.Protect(name="credit_document_never_changes", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.credit_note} · {self.get_format_display()}"
