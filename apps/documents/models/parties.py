"""What documents say of a merchant and a customer, as it was when they were issued."""

import pgtrigger
from django.db import models
from django.db.models import Q


class PartyFacts(models.Model):
    """Names, address and ids of one side of a document; kept once however many documents say the same."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the facts.")
    facts = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "party facts"
        constraints = [
            # Also serves "are these facts kept already".
            models.UniqueConstraint(fields=["organization", "digest"], name="partyfacts_once"),
        ]
        triggers = [
            pgtrigger.Protect(name="facts_never_change", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return str(self.facts.get("name") or self.digest[:12])


class InvoiceParties(models.Model):
    """Who an invoice is from and to; written when it is issued, and never changed."""

    # What it refers to is checked by `references_in_sets`.
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    invoice = models.OneToOneField(
        "invoicing.Invoice", on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    # Facts are never deleted, so nobody looks for who has them.
    seller = models.ForeignKey(
        PartyFacts, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    buyer = models.ForeignKey(
        PartyFacts, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    is_tax_exempt = models.BooleanField(help_text="The subscription was exempt from tax.")
    timezone = models.CharField(max_length=64, help_text="Dates of the service periods are local to it.")
    is_later = models.BooleanField(
        default=False, help_text="The invoice was issued before this was kept; it says what was known later."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "invoice parties"
        triggers = [
            pgtrigger.Protect(name="parties_never_change", operation=pgtrigger.Update | pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return str(self.invoice)


class Logo(models.Model):
    """A picture on a merchant's documents; a new one is a new row, so that issued documents keep theirs."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the picture.")
    content = models.BinaryField()
    media_type = models.CharField(max_length=20, choices=[("image/png", "PNG"), ("image/jpeg", "JPEG")])
    is_current = models.BooleanField(default=True, help_text="It stands on what is issued from now on.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "digest"], name="logo_once"),
            models.UniqueConstraint(fields=["organization"], name="logo_one_current", condition=Q(is_current=True)),
        ]
        triggers = [
            pgtrigger.Protect(
                name="logo_never_changes",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "ROW(OLD.organization_id, OLD.digest, OLD.content) IS DISTINCT FROM"
                    " ROW(NEW.organization_id, NEW.digest, NEW.content)"
                ),
            ),
            pgtrigger.Protect(name="logo_is_kept", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.digest[:12]
