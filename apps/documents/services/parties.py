"""Keeping who an invoice is from and to, so that later changes of a name or an address never reach it."""

from collections.abc import Sequence

from django.db import transaction

from apps.documents.domain.parties import Party
from apps.documents.models import InvoiceParties, PartyFacts
from apps.documents.selectors.parties import Sides, buyer_of, current_logos, current_sides, find_sides, seller_of
from apps.invoicing.models import Invoice
from apps.kernel.rows import insert_missing, insert_values, many_texts

COLUMNS = ("organization_id", "invoice_id", "seller_id", "buyer_id", "is_tax_exempt", "timezone", "is_later")


def keep_parties(invoices: Sequence[Invoice]) -> None:
    """Write down the parties of invoices that are being issued (caller's transaction)."""
    _keep(invoices, is_later=False)


@transaction.atomic
def get_sides(invoice: Invoice) -> Sides:
    """Give the parties of an invoice; of an issued one that has none kept yet, they are kept from now on."""
    if invoice.number is None:
        return current_sides(invoice)
    sides = find_sides(invoice)
    if sides is None:
        _keep([invoice], is_later=True)
        sides = find_sides(invoice)
    assert sides is not None
    return sides


def _keep(invoices: Sequence[Invoice], *, is_later: bool) -> None:
    merchant_ids = [invoice.organization_id for invoice in invoices]
    some = dict(zip(merchant_ids, invoices, strict=True))
    merchants = {key: invoice.organization for key, invoice in some.items()}
    logos = current_logos(list(merchants))
    # Issuing a whole merchant's month must not cost a digest of the merchant for each invoice.
    sellers = {key: seller_of(merchant, logos.get(key, "")) for key, merchant in merchants.items()}
    seller_digests = {key: party.digest for key, party in sellers.items()}
    buyers = [buyer_of(invoice.customer) for invoice in invoices]
    buyer_digests = [(key, party.digest) for key, party in zip(merchant_ids, buyers, strict=True)]
    wanted = {(key, seller_digests[key]): party for key, party in sellers.items()}
    wanted |= dict(zip(buyer_digests, buyers, strict=True))
    keys = _facts_keys(wanted)
    seller_keys = {key: keys[key, seller_digests[key]] for key in merchants}
    subscriptions = [invoice.subscription for invoice in invoices]
    rows = [
        (
            merchant_id,
            invoice.pk,
            seller_keys[merchant_id],
            keys[buyer],
            subscription.tax_exempt,
            subscription.timezone,
            is_later,
        )
        for invoice, merchant_id, buyer, subscription in zip(
            invoices, merchant_ids, buyer_digests, subscriptions, strict=True
        )
    ]
    if not is_later:
        insert_values(InvoiceParties, COLUMNS, rows)
        return
    InvoiceParties.objects.bulk_create(
        [InvoiceParties(**dict(zip(COLUMNS, row, strict=True))) for row in rows],
        # Two that ask at once for what was not kept: the first one's stays.
        ignore_conflicts=True,
    )


def _facts_keys(wanted: dict[tuple[int, str], Party]) -> dict[tuple[int, str], int]:
    """Give the rows of facts, making those that are new."""
    known = _known(wanted)
    missing = sorted(wanted.keys() - known.keys())
    if not missing:
        return known
    insert_missing(
        PartyFacts,
        ("organization_id", "digest", "facts"),
        [(*key, wanted[key].as_facts()) for key in missing],
    )
    return _known(wanted)


def _known(wanted: dict[tuple[int, str], Party]) -> dict[tuple[int, str], int]:
    rows = PartyFacts.objects.filter(
        organization_id__in={key[0] for key in wanted}, digest__in=many_texts(key[1] for key in wanted)
    )
    return {(row[0], row[1]): row[2] for row in rows.values_list("organization_id", "digest", "pk")}
