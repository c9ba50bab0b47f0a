from tests.recomputing import _issued_is_recomputed  # noqa: F401 - a fixture
