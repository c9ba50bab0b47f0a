from django.db import models


class InvoiceStatus(models.TextChoices):
    ACTIVE = "ACTIVE", "Open"
    CLOSING = "CLOSING", "Closing"
    CALCULATING = "CALCULATING", "Calculating"
    DRAFT = "DRAFT", "Draft"
    ISSUED = "ISSUED", "Issued"
    CONSOLIDATED = "CONSOLIDATED", "Consolidated"
    PAID = "PAID", "Paid"
    PAYMENT_FAILED = "PAYMENT_FAILED", "Payment failed"
    WRITTEN_OFF = "WRITTEN_OFF", "Written off"
    CANCELLED = "CANCELLED", "Cancelled"
    FAILED = "FAILED", "Failed"


# An invoice in one of these was issued; a number is what tells a cancelled one that was from one that was not.
FROZEN = ("ISSUED", "PAID", "PAYMENT_FAILED", "WRITTEN_OFF")
# Those that are still to be calculated.
UNCALCULATED = ("ACTIVE", "CLOSING", "FAILED")
