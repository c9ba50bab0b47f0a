"""Fresh databases take one migration an app; those on the way go on by the single ones; finished ones do nothing."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter

SQUASHED = [
    ("catalog", "0001_squashed_0018_pricing_units"),
    ("customers", "0001_squashed_0007_consolidation"),
    ("documents", "0001_squashed_0003_fewer_indexes"),
    ("entitlements", "0001_squashed_0003_credit_pools"),
    ("invoicing", "0001_squashed_0024_owed_less_grants"),
    ("metering", "0001_squashed_0011_store_begin"),
    ("organizations", "0001_squashed_0005_consolidation"),
    ("subscriptions", "0001_squashed_0009_fewer_indexes"),
]


class SingleSteps(MigrationLoader):
    """Knows the migrations as they were before they were squashed."""

    def load_disk(self) -> None:
        super().load_disk()
        self.disk_migrations = {key: found for key, found in self.disk_migrations.items() if key not in SQUASHED}


def test_squashed_migrations_lead_to_the_same_models() -> None:
    squashed, single = MigrationLoader(None), SingleSteps(None)

    for app, name in SQUASHED:
        replaced = squashed.disk_migrations[app, name].replaces
        before = single.project_state(replaced[-1]).models
        after = squashed.project_state((app, name)).models
        assert {key for key in after if key[0] == app} == {key for key in before if key[0] == app}
        for key in after:
            if key[0] == app:
                assert _facts(after[key]) == _facts(before[key]), key


def _facts(model: ModelState) -> dict[str, Any]:
    options = {name: value for name, value in model.options.items() if value not in ([], None)}
    for name in ("constraints", "indexes"):
        options[name] = {item.name: item for item in options.get(name, [])}
    options["triggers"] = {item.name: item for item in options.get("triggers", [])}
    fields = [(name, MigrationWriter.serialize(field)) for name, field in model.fields.items()]
    return {"name": model.name, "fields": fields, "options": options, "bases": model.bases}


@pytest.mark.django_db
def test_database_migrated_step_by_step_only_records() -> None:
    for app, name in SQUASHED:
        MigrationRecorder(connection).record_unapplied(app, name)

    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
    executor.check_replacements()

    assert set(SQUASHED) <= set(MigrationRecorder(connection).applied_migrations())


@pytest.mark.django_db
def test_database_on_the_way_goes_on_step_by_step() -> None:
    recorder = MigrationRecorder(connection)
    missing = [
        ("catalog", "0014_thresholds"),
        ("invoicing", "0010_consolidation"),
        ("invoicing", "0011_credit_notes"),
    ]
    graph = SingleSteps(None).graph
    later = [key for key in graph.nodes if not {*missing}.isdisjoint(graph.forwards_plan(key))]
    for app, name in [*SQUASHED, *later]:
        recorder.record_unapplied(app, name)

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())

    assert [(step.app_label, step.name) for step, _ in plan if (step.app_label, step.name) in missing] == missing
    # An app that has nothing yet begins as on a fresh database.
    begun = {app for app, _ in recorder.applied_migrations()}
    assert not {(step.app_label, step.name) for step, _ in plan if step.app_label in begun} & set(SQUASHED)
