"""The order of everything that time makes due."""

from collections.abc import Sequence

from apps.entitlements.services.slots import next_lapse_due, run_lapses
from apps.invoicing.services import billing_runs, buying, watching
from apps.invoicing.services import lifecycle as invoicing
from apps.kernel.lifecycle import Step
from apps.subscriptions.services.reminders import next_reminder_due, run_reminders

STEPS: Sequence[Step] = (
    # First, so that their use is metered before periods are closed.
    Step("end forgotten slots", next_lapse_due, run_lapses),
    Step("look at usage of open periods", watching.next_look_due, watching.run_looks),
    Step("start scheduled subscriptions", invoicing.next_start_due, invoicing.run_starts),
    Step("announce what comes", next_reminder_due, run_reminders),
    Step("close billing periods", invoicing.next_boundary_due, invoicing.run_boundaries),
    Step("calculate and issue invoices", invoicing.next_calculation_due, invoicing.run_calculations),
    Step("work through billing runs", billing_runs.next_run_work_due, billing_runs.run_billing_runs),
    Step("expire payment sessions", invoicing.next_expiry_due, invoicing.run_expiries),
    Step("give up unpaid purchases", buying.next_purchase_due, buying.run_purchases),
)
