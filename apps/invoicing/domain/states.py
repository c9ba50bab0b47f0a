"""Which state of an invoice follows which."""

from apps.kernel.errors import ConflictError

# The document's way: open, waiting for late usage, calculated, approved, issued, settled.
ALLOWED: dict[str, frozenset[str]] = {
    "ACTIVE": frozenset({"CLOSING", "CANCELLED"}),
    "CLOSING": frozenset({"CALCULATING", "CANCELLED"}),
    "CALCULATING": frozenset({"DRAFT", "ISSUED", "CONSOLIDATED", "FAILED"}),
    "FAILED": frozenset({"CALCULATING"}),
    "DRAFT": frozenset({"ISSUED", "CANCELLED"}),
    "ISSUED": frozenset({"PAID", "PAYMENT_FAILED", "WRITTEN_OFF", "CANCELLED"}),
    "PAYMENT_FAILED": frozenset({"PAID", "WRITTEN_OFF", "CANCELLED"}),
    # With its document, never alone.
    "CONSOLIDATED": frozenset({"CANCELLED"}),
    "PAID": frozenset(),
    "WRITTEN_OFF": frozenset({"PAID", "ISSUED"}),
    "CANCELLED": frozenset(),
}

ADVICE = {
    "PAID": "Invoice is already paid; issue a credit note to correct it.",
    "ISSUED": "Invoice is issued and never changes; issue a credit note to correct it.",
    "ACTIVE": "The period of this invoice is still open.",
    "CLOSING": "The invoice waits for late usage until its grace period ends.",
    "DRAFT": "The invoice is a draft; approve it first.",
    "CONSOLIDATED": "The invoice was issued on a document of several; use that one, named as consolidatedInvoiceId.",
    "CANCELLED": "The invoice is cancelled.",
    "WRITTEN_OFF": "The invoice is written off.",
}


def require(state: str, target: str) -> None:
    """Check that an invoice may go from one state to another.

    Raises:
        ConflictError: it may not; the message says what can be done instead.
    """
    if target not in ALLOWED[state]:
        raise ConflictError(
            ADVICE.get(state, f"An invoice in state {state} cannot become {target}."),
            code="INVOICE_STATE",
            details={"status": state, "wanted": target},
        )
