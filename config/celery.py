import gc
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, task_postrun, task_prerun, worker_process_init
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("metergate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["config"])


@task_prerun.connect
@task_postrun.connect
def look_at_connections(task: Any, **_: Any) -> None:
    """Keep the database connection from task to task as requests do: one that broke or is old is replaced."""
    if not task.request.is_eager:
        close_old_connections()


@worker_process_init.connect
def look_less_for_cycles(**_: Any) -> None:
    """Closing periods makes objects by the hundred thousand without cycles; looking for some costs a sixth of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@beat_init.connect
def make_partitions_at_once(**_: Any) -> None:
    """A new database needs them now; the schedule's first turn comes an interval after the start."""
    app.send_task("metering.make_partitions")
