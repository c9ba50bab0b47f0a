"""What beat runs and how often; shown and editable in the admin after the first start."""

from typing import Any

SCHEDULE: dict[str, dict[str, Any]] = {
    "heartbeat": {"task": "config.tasks.beat_heartbeat", "schedule": 5.0},
    "lifecycle": {"task": "config.tasks.run_lifecycle", "schedule": 10.0},
    # Within so many seconds after usage is merged, it is billed at thresholds and alerts fire.
    "invoicing.look_at_usage": {"task": "invoicing.look_at_usage", "schedule": 10.0},
    # What is found after the last invoice of subscriptions that ended; each has one bill a day of it at most.
    "invoicing.bill_corrections": {"task": "invoicing.bill_corrections", "schedule": 600.0},
    "metering.make_partitions": {"task": "metering.make_partitions", "schedule": 600.0},
    "metering.retain": {"task": "metering.retain", "schedule": 21600.0},
    "metering.release_due": {"task": "metering.release_due", "schedule": 30.0},
    "metering.sweep": {"task": "metering.sweep", "schedule": 1.0},
    "metering.resume_jobs": {"task": "metering.resume_jobs", "schedule": 30.0},
    "metering.relay": {"task": "metering.relay", "schedule": 2.0},
    "subscriptions.resume_clocks": {"task": "subscriptions.resume_clocks", "schedule": 15.0},
    "organizations.clean_idempotency": {"task": "organizations.clean_idempotency", "schedule": 3600.0},
}
