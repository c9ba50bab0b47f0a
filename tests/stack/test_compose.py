from pathlib import Path

import yaml

from config.schedule import SCHEDULE

ROOT = Path(__file__).resolve().parent.parent.parent


def test_compose_runs_every_role_after_the_migration() -> None:
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = stack["services"]
    optional = {role for role, service in services.items() if service.get("profiles") == ["log"]}
    assert optional == {"nats", "consumer"}
    assert set(services) - optional == {"postgres", "valkey", "migrate", "web", "worker", "merger", "beat"}
    for role in ("web", "worker", "merger", "beat", "consumer"):
        assert services[role]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[role]["environment"]["DATABASE_URL"].startswith("postgresql://")
    for server in ("postgres", "valkey", "web", "nats"):
        assert services[server]["healthcheck"]["test"]
    # Nothing but the web server is reachable from outside, and that on loopback.
    assert [role for role, service in services.items() if "ports" in service] == ["web"]
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]


def test_queues_of_the_workers_are_those_tasks_are_sent_to() -> None:
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    queues = {stack["services"][role]["command"][5] for role in ("worker", "merger")}
    assert queues == {"default", "merge"}
    assert SCHEDULE
