from apps.rating.grouped import parse_price
from apps.rating.price_models import REGISTRY, TransactionPriceModel, looks_at_events


def test_what_looks_at_events_is_what_has_the_members() -> None:
    prices = [model.parse(model.EXAMPLE) for model in REGISTRY.values()]
    assert [looks_at_events(price) for price in prices] == [isinstance(p, TransactionPriceModel) for p in prices]
    assert {looks_at_events(price) for price in prices} == {True, False}
    assert not looks_at_events(parse_price("standard", {"unitPrice": "1"}))
