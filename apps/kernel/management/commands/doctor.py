import json
import textwrap
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.kernel.clock import wall_now
from apps.kernel.doctor import Finding, State, examine

SIGNS = {State.OK: "ok", State.WARNING: "warning", State.PROBLEM: "PROBLEM", State.SKIPPED: "-"}


class Command(BaseCommand):
    help = (
        "Look at every part of the installation and say how to mend what is not well. "
        "Ends with 1 when there is a problem (with --strict also for a warning), else with 0."
    )
    # The checks look at these themselves; a broken one must not keep the doctor from coming.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--strict", action="store_true", help="a warning makes the command fail, too")

    def handle(self, *args: Any, **options: Any) -> None:
        found = examine(as_of=wall_now())
        states = [finding.state for _, finding in found]
        bad = {State.PROBLEM, *([State.WARNING] if options["strict"] else [])}
        is_well = not bad.intersection(states)
        if options["json"]:
            checks = [
                {"name": name, "state": finding.state, "text": finding.text, "fix": finding.fix}
                for name, finding in found
            ]
            self.stdout.write(json.dumps({"ok": is_well, "checks": checks}, indent=2))
        else:
            self._table(found)
            problems, warnings = states.count(State.PROBLEM), states.count(State.WARNING)
            self.stdout.write(f"\n{problems} problem(s), {warnings} warning(s), {len(found)} checks.")
        if not is_well:
            raise SystemExit(1)

    def _table(self, found: list[tuple[str, Finding]]) -> None:
        width = max(len(name) for name, _ in found)
        styles = {State.OK: self.style.SUCCESS, State.WARNING: self.style.WARNING, State.PROBLEM: self.style.ERROR}
        for name, finding in found:
            sign = styles.get(finding.state, str)(f"{SIGNS[finding.state]:<8}")
            self.stdout.write(f"{name:<{width}}  {sign}  {finding.text}")
            for line in textwrap.wrap(finding.fix, 90):
                self.stdout.write(f"{'':<{width}}  {'':<8}  → {line}" if line else "")
