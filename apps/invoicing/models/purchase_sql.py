"""The database's view of what was bought: it stands as its invoice does, by the end of every transaction."""

KEY_IS_NO_GRANTS = """
    IF EXISTS (
        SELECT 1 FROM entitlements_grant
        WHERE entitlement_id = NEW.entitlement_id AND idempotency_key = NEW.idempotency_key
    ) THEN
        RAISE EXCEPTION 'the key belongs to a grant' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
"""
IS_ITS_INVOICE = """
    IF NOT EXISTS (
        SELECT 1 FROM invoicing_grantpurchase purchase
        JOIN invoicing_invoice bill ON bill.id = purchase.invoice_id
        LEFT JOIN entitlements_grant bought ON bought.id = purchase.grant_id
        WHERE purchase.id = NEW.id AND bill.is_purchase AND bill.number IS NOT NULL
            AND bill.organization_id = purchase.organization_id
            AND CASE purchase.status
                WHEN 'open' THEN bill.status IN ('ISSUED', 'PAYMENT_FAILED')
                WHEN 'paid' THEN bill.status = 'PAID' AND bought.invoice_reference = bill.public_id
                    AND bought.amount = purchase.amount AND bought.price = purchase.price
                ELSE bill.status = 'CANCELLED'
            END
    ) THEN
        RAISE EXCEPTION 'a purchase stands as its invoice does' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
"""
FOLLOWS_INVOICE = """
    IF NOT EXISTS (
        SELECT 1 FROM invoicing_grantpurchase purchase
        JOIN invoicing_invoice bill ON bill.id = purchase.invoice_id
        WHERE bill.id = NEW.id AND CASE
            WHEN bill.status = 'PAID' THEN purchase.status = 'paid'
            WHEN bill.status = 'CANCELLED' THEN purchase.status IN ('expired', 'cancelled')
            ELSE bill.status IN ('ISSUED', 'PAYMENT_FAILED') AND purchase.status = 'open'
        END
    ) THEN
        RAISE EXCEPTION 'what was bought follows its invoice' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
"""
