from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from apps.kernel.errors import ConflictError
from apps.organizations.models import Organization
from apps.taxes.management.eu_rates import AS_OF, STANDARD
from apps.taxes.services.rates import create_rate


class Command(BaseCommand):
    help = (
        f"Give a merchant the standard VAT rates of the European Union since 2025, as they were on {AS_OF}. "
        "Rates that it has already stay; it registers the merchant nowhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", help="public id of the merchant, org_…")
        parser.add_argument("countries", nargs="*", help="such as DE FR; all member states by default")

    def handle(self, *args: Any, **options: Any) -> None:
        merchant = Organization.objects.filter(public_id=options["organization"], is_merchant=True).first()
        if merchant is None:
            raise CommandError(f"There is no merchant {options['organization']}.")
        known = {country for country, *_ in STANDARD}
        wanted = set(options["countries"]) or known
        if wanted - known:
            raise CommandError(f"No member states: {', '.join(sorted(wanted - known))}.")
        made = kept = 0
        with transaction.atomic():
            for country, percent, start, end in STANDARD:
                if country not in wanted:
                    continue
                try:
                    create_rate(
                        organization_id=merchant.pk,
                        country=country,
                        name="VAT",
                        percent=percent,
                        valid_from=start,
                        valid_to=end,
                    )
                    made += 1
                except ConflictError:
                    kept += 1
        self.stdout.write(f"{made} rates are new, {kept} were there. They are as of {AS_OF}: check them.")
