"""What the database keeps of an invoice: which changes it refuses, and what must hold when a transaction ends.

The SQL is part of each trigger's digest, blanks too: another indent would ask for a migration.
"""

import pgtrigger

from apps.invoicing.models.invoice_status import FROZEN
from apps.invoicing.models.purchase_sql import FOLLOWS_INVOICE

FROZEN_COLUMNS = (
    "number",
    "issued_at",
    "due_at",
    "subtotal",
    "total_tax",
    "grand_total",
    "line_count",
    "currency",
    "organization_id",
    "customer_id",
    "subscription_id",
    "sequence_number",
    "part",
    "period_start",
    "period_end",
    "has_members",
    "consolidated_into_id",
    "is_purchase",
)

TRIGGERS = [
    # An issued document never changes; what is paid, and whether, may.
    pgtrigger.Protect(
        name="issued_is_frozen",
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "COALESCE(OLD.number, OLD.consolidated_into_id::text) IS NOT NULL AND ROW("
            + ", ".join(f"OLD.{column}" for column in FROZEN_COLUMNS)
            + ") IS DISTINCT FROM ROW("
            + ", ".join(f"NEW.{column}" for column in FROZEN_COLUMNS)
            + ")"
        ),
    ),
    pgtrigger.Protect(
        name="issued_stays_issued",
        operation=pgtrigger.Update,
        condition=pgtrigger.Q(old__number__isnull=False) & ~pgtrigger.Q(new__status__in=(*FROZEN, "CANCELLED")),
    ),
    pgtrigger.Protect(
        name="numbered_is_kept",
        operation=pgtrigger.Delete,
        condition=pgtrigger.Q(old__number__isnull=False) | pgtrigger.Q(old__consolidated_into__isnull=False),
    ),
    # Paid and cancelled are the end; what is written off can be paid after all, or asked for again.
    pgtrigger.Protect(
        name="ends_are_final",
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "OLD.status <> NEW.status AND ("
            "OLD.status IN ('PAID', 'CANCELLED')"
            " OR OLD.status = 'WRITTEN_OFF' AND NEW.status NOT IN ('PAID', 'ISSUED')"
            " OR NEW.status = 'WRITTEN_OFF' AND OLD.status NOT IN ('ISSUED', 'PAYMENT_FAILED'))"
        ),
    ),
    # Whoever gives up what was issued says why.
    pgtrigger.Trigger(
        name="given_up_with_reason",
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "OLD.status <> NEW.status AND NEW.number IS NOT NULL AND NEW.status IN ('CANCELLED', 'WRITTEN_OFF')"
        ),
        func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoicedecision WHERE invoice_id = NEW.id
                            AND kind = CASE NEW.status WHEN 'CANCELLED' THEN 'void' ELSE 'write_off' END
                    ) THEN
                        RAISE EXCEPTION 'an invoice is given up for a reason' USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NULL;
                """,
    ),
    # Who paid has what was bought, and who did not has nothing.
    pgtrigger.Trigger(
        name="purchase_follows",
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition("OLD.status <> NEW.status AND NEW.is_purchase"),
        func=FOLLOWS_INVOICE,
    ),
    # A member is voided with its document, never alone.
    pgtrigger.Trigger(
        name="member_falls_with_document",
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "OLD.status <> NEW.status AND NEW.status = 'CANCELLED' AND NEW.consolidated_into_id IS NOT NULL"
        ),
        func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice WHERE id = NEW.consolidated_into_id AND status = 'CANCELLED'
                    ) THEN
                        RAISE EXCEPTION 'a member is voided with its document' USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NULL;
                """,
    ),
    # Members join a document before it is issued.
    pgtrigger.Trigger(
        name="members_join_before_issue",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        condition=pgtrigger.Q(new__consolidated_into__isnull=False),
        func="""
                    IF TG_OP = 'UPDATE' AND OLD.consolidated_into_id IS NOT DISTINCT FROM NEW.consolidated_into_id
                    THEN
                        RETURN NEW;
                    END IF;
                    IF EXISTS (
                        SELECT 1 FROM invoicing_invoice
                        WHERE id = NEW.consolidated_into_id AND (number IS NOT NULL OR NOT has_members)
                    ) THEN
                        RAISE EXCEPTION 'members of an issued invoice never change';
                    END IF;
                    RETURN NEW;
                """,
    ),
    # A document is the sum of its members, to the minor unit, by the end of the transaction that makes it.
    pgtrigger.Trigger(
        name="document_is_its_members",
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        operation=pgtrigger.Insert | pgtrigger.Update,
        condition=pgtrigger.Q(new__has_members=True),
        func="""
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice AS document
                        JOIN invoicing_invoice AS member ON member.consolidated_into_id = document.id
                        WHERE document.id = NEW.id AND document.number IS NOT NULL
                        GROUP BY document.id
                        HAVING count(*) > 1
                            AND sum(member.subtotal) = document.subtotal
                            AND sum(member.total_tax) = document.total_tax
                            AND sum(member.line_count) = document.line_count
                            AND bool_and(
                                ROW(member.organization_id, member.customer_id, member.currency, member.due_until)
                                = ROW(document.organization_id, document.customer_id, document.currency,
                                      document.due_until)
                            )
                            AND bool_and((member.status = 'CANCELLED') = (document.status = 'CANCELLED'))
                    ) THEN
                        RAISE EXCEPTION 'an invoice with members is their sum, and issued with them';
                    END IF;
                    RETURN NULL;
                """,
    ),
]
