import pytest

from config.env import Environment, SettingError, boolean, database, integer


def test_defaults_suit_a_machine_of_ones_own() -> None:
    settings = Environment.read({})
    assert settings.base_url == "http://127.0.0.1:8000"
    assert not settings.debug


def test_a_reachable_server_must_set_its_own_secret() -> None:
    with pytest.raises(SettingError, match="SECRET_KEY"):
        Environment.read({"BASE_URL": "https://billing.example.com"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "maybe"),
        ("BASE_URL", "example.com"),
        ("DATABASE_URL", "mysql://x/y"),
        ("LOG_LEVEL", "loud"),
        ("EVENT_LOG_URL", "kafka://broker:9092"),
        ("EVENT_LOG_URL", "nats://"),
        ("EVENT_LOG_URL", "nats://a:4222,tls://b:4222"),
        ("EVENT_LOG_STREAM", "with.dots"),
        ("EVENT_LOG_REPLICAS", "9"),
        ("EVENT_STORE_URL", "postgresql://x/y"),
    ],
)
def test_bad_values_stop_the_start_and_name_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        Environment.read({name: value})


def test_keys_are_kept_at_least_as_long_as_events() -> None:
    assert (Environment.read({}).raw_event_days, Environment.read({}).event_key_days) == (0, 0)
    kept = Environment.read({"RAW_EVENT_DAYS": "90"})
    assert (kept.raw_event_days, kept.event_key_days) == (90, 90)
    for values in ({"EVENT_KEY_DAYS": "90"}, {"RAW_EVENT_DAYS": "120", "EVENT_KEY_DAYS": "90"}):
        with pytest.raises(SettingError, match="EVENT_KEY_DAYS"):
            Environment.read(values)
    with pytest.raises(SettingError, match="RAW_EVENT_DAYS"):
        Environment.read({"RAW_EVENT_DAYS": "30"})


def test_database_url_takes_a_socket_folder() -> None:
    parsed = database("postgresql://me:p%40ss@/billing?host=/run/pg&sslmode=disable")
    assert parsed["HOST"] == "/run/pg"
    assert parsed["PASSWORD"] == "p@ss"
    assert parsed["OPTIONS"]["sslmode"] == "disable"
    with pytest.raises(SettingError, match="names no database"):
        database("postgresql://localhost")


def test_the_event_log_is_named_by_all_its_servers() -> None:
    assert Environment.read({}).event_log.url == ""
    log = Environment.read({"EVENT_LOG_URL": "nats://a:4222, nats://b:4222", "EVENT_LOG_SHARDS": "8"}).event_log
    assert (log.url, log.replicas, log.shards) == ("nats://a:4222,nats://b:4222", 3, 8)


def test_a_driver_whose_package_is_missing_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.env.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="uv sync --extra scale"):
        Environment.read({"EVENT_LOG_URL": "nats://a:4222"})


def test_broker_url_of_a_unix_socket() -> None:
    assert Environment.read({"REDIS_URL": "unix:///run/v.sock?db=3"}).broker_url == (
        "redis+socket:///run/v.sock?virtual_host=3"
    )


def test_numbers_and_flags() -> None:
    assert integer({"PORT": "80"}, "PORT", default=1, low=1, high=99) == 80
    with pytest.raises(SettingError, match="PORT"):
        integer({"PORT": "eighty"}, "PORT", default=1, low=1, high=99)
    assert boolean({"X": "on"}, "X", default=False)
