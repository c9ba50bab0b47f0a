"""A price model of another package, from its entry point to the invoice."""

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.models import BillableMetric
from apps.catalog.services.prices import create_price
from apps.invoicing.models import Invoice
from apps.rating.price_models import BUILT_IN, REGISTRY
from apps.rating.price_models.installed import GROUP, PriceModelError, installed_models
from apps.rating.price_models.standard import StandardPrice
from apps.rating.reading import recompute
from tests.world import World

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "capped_price"
NAMED = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
ENTRY = EntryPoint("capped", NAMED["capped"], GROUP)


@pytest.fixture(autouse=True)
def _example_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.mark.parametrize(
    ("units", "amount"), [("0", "0"), ("100", "2"), ("750", "15"), ("751", "15"), ("9999", "15")]
)
def test_the_example_prices_up_to_its_cap(units: str, amount: str) -> None:
    model = installed_models([ENTRY], taken=BUILT_IN)["capped"]
    parts = model.parse(model.EXAMPLE).components(Decimal(units))
    assert sum((part.amount for part in parts), Decimal(0)) == Decimal(amount)


def test_an_installed_package_is_found_by_every_process(tmp_path: Path) -> None:
    installed = tmp_path / "metergate_capped_price-1.0.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: metergate-capped-price\nVersion: 1.0.0\n")
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\ncapped = {NAMED['capped']}\n")
    asked = "import django; django.setup(); from apps.catalog.api.inputs import MODELS; print(MODELS)"
    known = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}

    def run(*path: Path) -> subprocess.CompletedProcess[str]:
        env = {**known, "PYTHONPATH": os.pathsep.join(str(part) for part in path)}
        return subprocess.run(
            [sys.executable, "-c", asked], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    assert "'capped'" in run(tmp_path, EXAMPLE).stdout
    assert "'capped'" not in run(EXAMPLE).stdout
    # Installed by halves: nothing starts, and one reads why.
    broken = run(tmp_path)
    assert broken.returncode != 0
    assert "Price model capped (metergate_capped_price:CappedPrice) of metergate-capped-price" in broken.stderr


@dataclass(frozen=True)
class Forgetful(StandardPrice):
    CODE = "forgetful"

    @classmethod
    def from_description(cls, described: Any) -> Any:
        return cls(Decimal(1))


class Nameless(StandardPrice):
    CODE = "another"


class Hollow:
    CODE = "hollow"


class Demanding(StandardPrice):
    CODE = "demanding"
    EXAMPLE = {"unitPrice": "dear"}


class Silent(StandardPrice):
    CODE = "silent"

    def describe(self) -> dict[str, Any]:
        return {"model": "standard", "rate": "1"}


class Floating(StandardPrice):
    CODE = "floating"

    def components(self, quantity: Decimal) -> Any:
        return [part for part in super().components(quantity) if part.amount] and [Hollow()]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("standard", "apps.rating.price_models.standard:StandardPrice", "already"),
        ("gone", "no_such_module:Price", "cannot be loaded"),
        ("Bad-Name", f"{__name__}:Hollow", "small letters"),
        ("hollow", f"{__name__}:Hollow", "not a class with IS_PROGRESSIVE, EXAMPLE, parse"),
        ("nameless", f"{__name__}:Nameless", "CODE is 'another'"),
        ("forgetful", f"{__name__}:Forgetful", "prices otherwise"),
        ("demanding", f"{__name__}:Demanding", "EXAMPLE fails"),
        ("silent", f"{__name__}:Silent", "does not name it"),
        ("floating", f"{__name__}:Floating", "EXAMPLE fails"),
    ],
)
def test_one_that_breaks_its_promise_is_refused(name: str, value: str, why: str) -> None:
    with pytest.raises(PriceModelError, match=why):
        installed_models([EntryPoint(name, value, GROUP)], taken=BUILT_IN)


def test_two_packages_cannot_share_a_code() -> None:
    with pytest.raises(PriceModelError, match="already"):
        installed_models([ENTRY, ENTRY], taken=BUILT_IN)


@pytest.mark.django_db
def test_an_installed_model_bills_live_late_and_with_its_reasons(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "capped", installed_models([ENTRY], taken=BUILT_IN)["capped"])
    product = world.product()
    metric = BillableMetric.objects.get(public_id=world.metric(product))
    price = create_price(
        organization_id=world.merchant.pk,
        metric=metric,
        fee=None,
        model="capped",
        properties={"unitPrice": "0.02", "cap": "15"},
        payment_term="in_arrears",
        invoice_display_name="Tokens",
    )
    customer, clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
    plan = world.plan(product, [price.public_id])
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    world.send(customer, "2026-01-03T10:15:00Z", tokens=500)
    world.advance(clock, "2026-01-25T00:00:00Z")
    assert world.invoices(subscription["id"])[0]["grandTotal"] == "10.00"
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.send(customer, "2026-01-04T10:15:00Z", tokens=900)
    world.advance(clock, "2026-03-02T00:00:00Z")
    january, february = world.invoices(subscription["id"])[:2]
    assert (january["grandTotal"], february["grandTotal"]) == ("10.00", "5.00")
    for invoice in (january, february):
        for line in world.lines(invoice["id"]):
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"])

    # Its package is taken away: the next invoice fails and says so; it is calculated when the package is back.
    monkeypatch.delitem(REGISTRY, "capped")
    world.send(customer, "2026-03-04T10:15:00Z", tokens=100)
    world.advance(clock, "2026-04-02T00:00:00Z")
    march = Invoice.objects.get(sequence_number=3)
    assert (march.status, "no price model capped" in march.failure_reason) == ("FAILED", True)
