"""Typed settings from the environment; a bad value stops the start and says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
# Good enough for a machine of one's own; a server that is reachable must set its own.
DEVELOPMENT_KEY = "metergate-development-key-not-for-production-use-0123456789"


class SettingError(RuntimeError):
    """A setting is missing or malformed."""


@dataclass(frozen=True, slots=True)
class EventLogSettings:
    """The log in front of staging.

    Attributes:
        url: servers, separated by commas; empty means that PostgreSQL is the log.
        stream: how the names of its streams begin; the number of the shard follows.
        replicas: how many servers hold each block.
        shards: into how many streams organizations are spread; more later is fine, fewer is not.
        ack_seconds: how long a call waits for the quorum before it answers 503.
    """

    url: str
    stream: str
    replicas: int
    shards: int
    ack_seconds: float

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "EventLogSettings":
        return cls(
            url=optional_urls(
                environ,
                "EVENT_LOG_URL",
                example="nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222",
                schemes=("nats", "tls"),
                package="nats",
            ),
            stream=word(environ, "EVENT_LOG_STREAM", default="metergate-events"),
            replicas=integer(environ, "EVENT_LOG_REPLICAS", default=3, low=1, high=5),
            shards=integer(environ, "EVENT_LOG_SHARDS", default=4, low=1, high=256),
            ack_seconds=float(integer(environ, "EVENT_LOG_ACK_SECONDS", default=5, low=1, high=60)),
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """All that differs between machines."""

    debug: bool
    secret_key: str
    allowed_hosts: list[str]
    base_url: str
    database: dict[str, Any]
    redis_url: str
    event_log: "EventLogSettings"
    event_store_url: str
    var_dir: Path
    shared_dir: Path
    log_level: str
    ingest_key_rate: int
    ingest_staged_limit: int
    metrics_token: str
    raw_event_days: int
    event_key_days: int
    export_dir: Path

    @property
    def broker_url(self) -> str:
        """The broker's address in the form its client library wants for a unix socket."""
        parts = urlsplit(self.redis_url)
        if parts.scheme != "unix":
            return self.redis_url
        database = dict(parse_qsl(parts.query)).get("db", "0")
        return f"redis+socket://{parts.path}?virtual_host={database}"

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Environment":
        """Read and check every setting.

        Raises:
            SettingError: naming the variable and an example of a good value.
        """
        debug = boolean(environ, "DEBUG", default=False)
        base_url = url(environ, "BASE_URL", default="http://127.0.0.1:8000", schemes=("http", "https"))
        host = urlsplit(base_url).hostname or ""
        is_local = host in {"127.0.0.1", "localhost", "::1"}
        secret_key = text(environ, "SECRET_KEY", default=DEVELOPMENT_KEY if is_local else "")
        if len(secret_key) < 32:
            raise SettingError("SECRET_KEY must have at least 32 characters; make one with `openssl rand -hex 32`.")
        hosts = text(environ, "ALLOWED_HOSTS", default=f"{host},127.0.0.1,localhost,testserver")
        level = text(environ, "LOG_LEVEL", default="INFO").upper()
        if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingError(f"LOG_LEVEL is {level!r}; use DEBUG, INFO, WARNING or ERROR.")
        raw_days = days(environ, "RAW_EVENT_DAYS", default=0)
        key_days = days(environ, "EVENT_KEY_DAYS", default=raw_days)
        if key_days and not 0 < raw_days <= key_days:
            raise SettingError("EVENT_KEY_DAYS must not be below RAW_EVENT_DAYS: a key is kept as long as its event.")
        var_dir = Path(text(environ, "VAR", default=str(ROOT / "var"))).resolve()
        return cls(
            debug=debug,
            secret_key=secret_key,
            allowed_hosts=[part.strip() for part in hosts.split(",") if part.strip()],
            base_url=base_url.rstrip("/"),
            database=database(
                url(
                    environ,
                    "DATABASE_URL",
                    default="postgresql://metergate@127.0.0.1:5432/metergate",
                    schemes=("postgresql", "postgres"),
                )
            ),
            redis_url=url(
                environ, "REDIS_URL", default="redis://127.0.0.1:6379/0", schemes=("redis", "rediss", "unix")
            ),
            event_log=EventLogSettings.read(environ),
            event_store_url=optional_urls(
                environ,
                "EVENT_STORE_URL",
                example="clickhouse://metergate:…@clickhouse:8123/metergate",
                schemes=("clickhouse", "clickhouses"),
                package="clickhouse_connect",
            ),
            var_dir=var_dir,
            shared_dir=Path(text(environ, "METERGATE_SHARED", default=str(ROOT.parent / "shared"))),
            log_level=level,
            ingest_key_rate=integer(environ, "INGEST_KEY_RATE", default=200_000, low=1_000, high=100_000_000),
            ingest_staged_limit=integer(
                environ, "INGEST_STAGED_LIMIT", default=5_000_000, low=1_000, high=1_000_000_000
            ),
            metrics_token=text(environ, "METRICS_TOKEN", default=""),
            raw_event_days=raw_days,
            event_key_days=key_days,
            export_dir=Path(text(environ, "EXPORT_DIR", default=str(var_dir / "exports"))),
        )


def text(environ: Mapping[str, str], name: str, *, default: str) -> str:
    return environ.get(name, "").strip() or default


def boolean(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise SettingError(f"{name} is {value!r}; use 1 or 0.")


def integer(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    value = environ.get(name, "").strip()
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
        raise SettingError(f"{name} is {value!r}; use a whole number from {low} to {high}.")
    return int(value)


def days(environ: Mapping[str, str], name: str, *, default: int) -> int:
    """Read how many days something is kept; 0 is for ever, and less than two months would cut open periods."""
    found = integer(environ, name, default=default, low=0, high=36_500)
    if 0 < found < 62:
        raise SettingError(f"{name} is {found}; use 0 (for ever) or at least 62.")
    return found


def url(environ: Mapping[str, str], name: str, *, default: str, schemes: tuple[str, ...]) -> str:
    value = text(environ, name, default=default)
    if urlsplit(value).scheme not in schemes:
        raise SettingError(f"{name} is {value!r}; it must start with {schemes[0]}://, as in {default}.")
    return value


def optional_urls(
    environ: Mapping[str, str], name: str, *, example: str, schemes: tuple[str, ...], package: str
) -> str:
    """Read a setting that may be empty, or holds one or more addresses of one scheme, separated by commas."""
    parts = [part.strip() for part in environ.get(name, "").split(",") if part.strip()]
    found = {urlsplit(part).scheme for part in parts}
    if len(found) > 1 or not found <= set(schemes) or not all(urlsplit(part).hostname for part in parts):
        raise SettingError(f"{name} is not an address; leave it empty, or give one as in {example}.")
    if found and find_spec(package) is None:
        raise SettingError(f"{name} needs the package {package}; install it with `uv sync --extra scale`.")
    return ",".join(parts)


def word(environ: Mapping[str, str], name: str, *, default: str) -> str:
    value = text(environ, name, default=default)
    if not value.replace("-", "").replace("_", "").isalnum() or not value.isascii():
        raise SettingError(f"{name} is {value!r}; use letters, digits, - and _.")
    return value


def database(address: str) -> dict[str, Any]:
    """Turn a DATABASE_URL into Django's form; `?host=/folder` names a unix socket.

    Raises:
        SettingError: it names no database.
    """
    parts = urlsplit(address)
    query = dict(parse_qsl(parts.query))
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise SettingError("DATABASE_URL names no database; end it with /metergate.")
    return {
        "ENGINE": "apps.kernel.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or query.pop("port", "")),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 10, **query},
    }
