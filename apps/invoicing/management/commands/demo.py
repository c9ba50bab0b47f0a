import json
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from apps.invoicing.management.examples import seed_examples
from apps.invoicing.management.seed import seed_catalogue, seed_history, seed_present
from apps.invoicing.management.seed_rights import seed_rights
from apps.invoicing.management.seed_taxes import GERMAN_VAT_ID, seed_taxes
from apps.kernel.clock import wall_now
from apps.organizations.domain.keys import hash_secret, new_secret
from apps.organizations.models import ApiKey, Membership, Organization, User
from apps.organizations.services.keys import create_api_key
from apps.organizations.services.organizations import create_merchant

LOGIN = "owner@northlight.test"
NAME = "Northlight AI"
TEAM = (
    ("finance@northlight.test", "finance"),
    ("support@northlight.test", "support"),
    ("viewer@northlight.test", "viewer"),
    ("approver@northlight.test", "approver"),
    ("engineer@northlight.test", "engineer"),
)


class Command(BaseCommand):
    help = "Load the demo merchant once and say how to reach it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--migrate", action="store_true", help="migrate first, in the same process")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["migrate"]:
            call_command("migrate", interactive=False, verbosity=0)
        secrets = _secrets(settings.VAR_DIR)
        merchant = Organization.objects.filter(name=NAME, is_merchant=True).first()
        if merchant is None:
            with transaction.atomic():
                merchant = self._load(secrets)
        owner = User.objects.get(email=LOGIN)
        if not owner.check_password(secrets["password"]):
            # The folder of the data was moved or its secrets file lost: the printed login must still work.
            for user in User.objects.filter(memberships__organization=merchant):
                user.set_password(secrets["password"])
                user.save()
        if not ApiKey.objects.filter(secret_hash=hash_secret(secrets["api_key"])).exists():
            create_api_key(organization=merchant, user=owner, name="Demo", secret=secrets["api_key"])
        facts = {
            "admin_login": LOGIN,
            "admin_password": secrets["password"],
            "merchant_id": merchant.public_id,
            "api_key": secrets["api_key"],
        }
        self.stdout.write(json.dumps(facts) if options["json"] else json.dumps(facts, indent=2))

    def _load(self, secrets: dict[str, str]) -> Organization:
        now = wall_now()
        owner = User.objects.create_user(LOGIN, secrets["password"], is_staff=True, first_name="Noor")
        merchant = create_merchant(
            name=NAME,
            email="billing@northlight.test",
            owner=owner,
            legal_name="Northlight AI GmbH",
            line1="Hafenstraße 5",
            city="Hamburg",
            country="DE",
            zip_code="20457",
            vat_id=GERMAN_VAT_ID,
            registration_number="HRB 123456",
            iban="DE89370400440532013000",
            bic="COBADEFFXXX",
        )
        seed_taxes(merchant)
        for email, role in TEAM:
            user = User.objects.create_user(email, secrets["password"], is_staff=True, first_name=role.title())
            Membership.objects.create(organization=merchant, user=user, role=role)
        catalogue = seed_catalogue(merchant, as_of=now)
        seed_present(merchant, catalogue, as_of=now)
        seed_history(merchant, catalogue, settings.SHARED_DIR, as_of=now)
        seed_examples(merchant, as_of=now)
        seed_rights(merchant, as_of=now)
        return merchant


def _secrets(folder: Path) -> dict[str, str]:
    """Give the demo's password and key, made at the first start and kept beside its data."""
    file = folder / "demo.secrets.json"
    if file.exists():
        found: dict[str, str] = json.loads(file.read_text())
        return found
    made = {"password": token_urlsafe(9), "api_key": new_secret("test")}
    folder.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps(made))
    return made
