"""The database's view of what was bought: it stands as its invoice does, by the end of every transaction."""

KEY_IS_NOT_GIVEN = """
    IF EXISTS (
        SELECT 1 FROM entitlements_grant
        WHERE entitlement_id = NEW.entitlement_id AND idempotency_key = NEW.idempotency_key
    ) OR EXISTS (
        SELECT 1 FROM entitlements_slotburst
        WHERE pool_id = NEW.pool_id AND idempotency_key = NEW.idempotency_key
    ) THEN
        RAISE EXCEPTION 'the key belongs to a grant or a burst' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
"""
IS_ITS_INVOICE = """
    IF NOT EXISTS (
        SELECT 1 FROM invoicing_purchase purchase
        JOIN invoicing_invoice bill ON bill.id = purchase.invoice_id
        JOIN entitlements_entitlement claim ON claim.id = purchase.entitlement_id
        LEFT JOIN entitlements_slotpool pool ON pool.id = purchase.pool_id
        LEFT JOIN entitlements_grant bought ON bought.id = purchase.grant_id
        LEFT JOIN entitlements_slotburst burst ON burst.id = purchase.burst_id
        WHERE purchase.id = NEW.id AND bill.is_purchase AND bill.number IS NOT NULL
            AND bill.organization_id = purchase.organization_id
            AND (
                purchase.pool_id IS NULL
                OR pool.customer_id = claim.customer_id AND pool.feature_id = claim.feature_id
            )
            AND CASE purchase.status
                WHEN 'open' THEN bill.status IN ('ISSUED', 'PAYMENT_FAILED')
                WHEN 'paid' THEN bill.status = 'PAID' AND CASE
                    WHEN purchase.pool_id IS NULL THEN bought.invoice_reference = bill.public_id
                        AND bought.amount = purchase.amount AND bought.price = purchase.price
                    ELSE burst.invoice_reference = bill.public_id AND burst.pool_id = purchase.pool_id
                        AND burst.slots = purchase.amount AND burst.price = purchase.price
                        AND burst.starts_at = greatest(purchase.effective_at, purchase.ended_at)
                        AND burst.ends_at = purchase.expires_at
                END
                ELSE bill.status = 'CANCELLED'
            END
    ) THEN
        RAISE EXCEPTION 'a purchase stands as its invoice does' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
"""
FOLLOWS_INVOICE = """
    IF NOT EXISTS (
        SELECT 1 FROM invoicing_purchase purchase
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
