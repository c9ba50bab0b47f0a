import os
from typing import Any

from celery import Celery
from celery.signals import beat_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("metergate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["config"])


@beat_init.connect
def make_partitions_at_once(**_: Any) -> None:
    """A new database needs them now; the schedule's first turn comes an interval after the start."""
    app.send_task("metering.make_partitions")
