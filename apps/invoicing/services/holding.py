"""What bills are priced by stays while they are calculated."""

from collections.abc import Sequence

from django.db import connection

from apps.catalog.models import PriceRevision
from apps.invoicing.models import Invoice
from apps.kernel.rows import many
from apps.rating.feeds import feeds_of
from apps.rating.grouped import parse_price


def hold_rates(invoices: Sequence[Invoice]) -> None:
    """Keep the rates that invoices are priced by as they are, until the caller's transaction ends.

    Called before their usage is read: a change of rates waits, and then finds the time billed. Many calculations may
    hold the same feed.
    """
    keys = {key for invoice in invoices for key in invoice.price_revision_ids}
    rows = PriceRevision.objects.filter(pk__in=many(keys), model="dynamic").values_list("model", "properties")
    feeds = sorted({feed for model, properties in rows for feed in feeds_of(parse_price(model, properties))})
    if feeds:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM catalog_ratefeed WHERE public_id = ANY(%s) ORDER BY id FOR SHARE", [feeds])
