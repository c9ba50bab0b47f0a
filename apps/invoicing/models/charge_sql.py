"""The database's view of what was billed and given back of one charge, whatever bills and notes it stands on."""

# Lines of a subscription's bills that are of one price and share service time, as `selectors/given_back.py` has them.
LINES_OF_CHARGE = """
    FROM invoicing_invoiceline line
    JOIN invoicing_invoice bill ON bill.id = line.invoice_id
    JOIN catalog_pricerevision revision ON revision.id = line.price_revision_id
    WHERE bill.subscription_id = of_subscription AND revision.price_id = of_price
        AND (line.kind IN ('fee', 'metered', 'adjustment') OR starts_with(line.reference, 'discount:grants:'))
        AND bill.status <> 'CANCELLED'
        AND (bill.issued_at IS NOT NULL OR line.gross < 0 AND line.kind <> 'discount')
        AND (
            line.period_start < of_line.period_end AND line.period_end > of_line.period_start
            OR line.period_start = of_line.period_start AND line.period_end = of_line.period_end
        )
"""
DECLARED = [
    ("of_line", "invoicing_invoiceline"),
    ("of_price", "bigint"),
    ("of_subscription", "bigint"),
    ("ids", "bigint[]"),
    ("is_reduced", "boolean"),
    ("billed", "numeric"),
    ("credited", "numeric"),
]
# The lock makes a credit note and a correction of the same charge wait for each other, so the sum is the true one.
SUMMED = f"""
    SELECT bill.subscription_id, revision.price_id INTO of_subscription, of_price
    FROM invoicing_invoice bill
    LEFT JOIN catalog_pricerevision revision ON revision.id = of_line.price_revision_id
    WHERE bill.id = of_line.invoice_id;
    IF of_price IS NULL THEN RETURN NEW; END IF;
    PERFORM line.id {LINES_OF_CHARGE} ORDER BY line.id FOR NO KEY UPDATE OF line;
    SELECT array_agg(line.id), bool_or(line.gross < 0), GREATEST(sum(line.subtotal), sum(line.gross), 0)
    INTO ids, is_reduced, billed {LINES_OF_CHARGE};
    IF NOT is_reduced THEN RETURN NEW; END IF;
    SELECT LEAST(COALESCE(sum(given.subtotal), 0), COALESCE(sum(given.total), 0)) INTO credited
    FROM invoicing_creditnoteline given JOIN invoicing_creditnote note ON note.id = given.credit_note_id
    WHERE given.invoice_line_id = ANY (ids) AND note.status = 'ISSUED';
    IF credited > billed THEN
        RAISE EXCEPTION 'what is given back of a charge never exceeds it' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
"""
OF_CREDIT = f"SELECT * INTO of_line FROM invoicing_invoiceline WHERE id = NEW.invoice_line_id; {SUMMED}"
OF_CORRECTION = f"of_line := NEW; {SUMMED}"
