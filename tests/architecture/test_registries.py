"""What the layout promises: a file per strategy, relations that point down, a screen and an owner for every table."""

import pkgutil
from types import ModuleType

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import models

from apps.invoicing.models import InvoiceLine
from apps.metering import aggregations
from apps.metering.models import EventExport, Retention
from apps.organizations.models import Membership, Organization, User
from apps.rating import price_models
from config.celery import app as celery_app
from config.lifecycle import STEPS
from config.schedule import SCHEDULE

# The order of the apps, the top first; the import contracts hold the same.
ORDER = (
    "documents", "invoicing", "entitlements", "subscriptions", "metering", "catalog", "taxes", "customers",
    "organizations",
    "outbox",
)  # fmt: skip
OURS = [model for model in apps.get_models() if model.__module__.startswith("apps.")]
# Tables the database fills itself: history by triggers, hot tables by set-based statements.
HISTORY = [model for model in OURS if model.__name__.endswith("Event") and hasattr(model, "pgh_tracked_model")]


def own_models() -> list[type[models.Model]]:
    return [model for model in OURS if model not in HISTORY]


@pytest.mark.parametrize("package", [price_models, aggregations], ids=["price models", "aggregations"])
def test_every_strategy_file_is_registered_and_only_those(package: ModuleType) -> None:
    files = {name for _, name, _ in pkgutil.iter_modules(package.__path__)} - {"base", "installed", "tiers"}
    assert {str(code).lower() for code in getattr(package, "BUILT_IN", package.REGISTRY)} == files


def test_relations_point_down() -> None:
    for model in own_models():
        for field in model._meta.get_fields():
            if not isinstance(field, models.ForeignKey):
                continue
            target = field.related_model
            assert isinstance(target, type)
            if not target.__module__.startswith("apps."):
                continue
            here, there = model._meta.app_label, target._meta.app_label
            assert ORDER.index(here) <= ORDER.index(there), f"{model.__name__}.{field.name} points up"


def test_every_table_says_whose_rows_it_holds() -> None:
    # Partitions of raw events, and so their exports, hold the months of all merchants.
    shared = {Organization, User, Retention, EventExport}
    for model in own_models():
        names = {field.name for field in model._meta.get_fields()} | {
            getattr(field, "attname", "") for field in model._meta.get_fields()
        }
        belongs = names & {"organization", "organization_id"}
        through = {"price", "invoice", "plan_version", "user", "metric"} & names
        assert model in shared or belongs or through, model.__name__


def test_every_model_has_a_screen() -> None:
    without = {
        model.__name__ for model in own_models() if model not in admin.site._registry and not _is_inline(model)
    }
    # Staged events live for a second; the overview counts them.
    assert without == {"StagedEvent"}


def _is_inline(model: type[models.Model]) -> bool:
    return any(
        inline.model is model for screen in admin.site._registry.values() for inline in getattr(screen, "inlines", [])
    )


def test_money_has_no_floats() -> None:
    for model in OURS:
        for field in model._meta.get_fields():
            assert not isinstance(field, models.FloatField), f"{model.__name__}.{field.name}"


def test_steps_and_schedule_are_named_once() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    celery_app.loader.import_default_modules()
    assert {entry["task"] for entry in SCHEDULE.values()} <= set(celery_app.tasks)


def test_issued_lines_and_members_are_protected_by_the_database() -> None:
    assert {trigger.name for trigger in InvoiceLine._meta.triggers} >= {"issued_lines_are_frozen"}  # type: ignore[attr-defined]
    assert Membership._meta.constraints
