"""What coupons take off an invoice: pure, from its lines and from what each coupon took off before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apps.invoicing.domain.cuts import cut_line, left_of_lines, source_of
from apps.invoicing.domain.spend import RELEASED
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, allocate, format_decimal, minor_digits, round_money
from apps.rating.steps import share_step, step_of

ONCE, REPEATING, FOREVER = "once", "repeating", "forever"
ZERO = Decimal(0)
# What a coupon is off; lines put on by hand are what they are.
KINDS = frozenset({"fee", "metered", "commitment", "adjustment"})


@dataclass(frozen=True, slots=True)
class CouponTerms:
    """A redeemed coupon as billing reads it.

    Attributes:
        source: id of the redemption.
        name: what the customer reads.
        percentage: a fraction of 1; None where it takes an amount.
        amount: major units of `currency`; None where it takes a percentage.
        duration: one of ONCE, REPEATING, FOREVER.
        periods: how many invoices it reduces, where it repeats.
        price_ids: prices it is limited to, by key.
        metric_ids: metrics it is limited to.
        plan_ids: plans it is limited to; nothing named at all is everything.
    """

    source: str
    name: str
    code: str
    percentage: Decimal | None
    amount: Decimal | None
    currency: str
    duration: str
    periods: int | None = None
    price_ids: frozenset[int] = frozenset()
    metric_ids: frozenset[int] = frozenset()
    plan_ids: frozenset[int] = frozenset()

    @property
    def rank(self) -> int:
        """The narrowest comes first: of prices or metrics, then of plans, then of everything."""
        if self.price_ids or self.metric_ids:
            return 0
        return 1 if self.plan_ids else 2

    def is_off(self, *, price_id: int | None, metric_id: int | None, plan_id: int) -> bool:
        """Whether it is off a line of a price in a subscription to a plan."""
        if self.rank == 2 or plan_id in self.plan_ids:
            return True
        return price_id in self.price_ids or metric_id in self.metric_ids


@dataclass(slots=True)
class Used:
    """What a redeemed coupon took off so far, on invoices that are calculated and not cancelled.

    Attributes:
        amount: in major units of an amount coupon's currency; 0 or more.
        invoices: how many of them it reduced.
    """

    amount: Decimal = ZERO
    invoices: int = 0


def lasts(terms: CouponTerms, used: Used) -> bool:
    """Whether a coupon still has something to take off."""
    if terms.duration == FOREVER:
        return True
    if terms.duration == REPEATING:
        return used.invoices < (terms.periods or 0)
    return used.invoices == 0 if terms.amount is None else used.amount < terms.amount


def taken_off(terms: CouponTerms, used: Used, base: Decimal, *, currency: str) -> Decimal:
    """Give what a coupon takes off a base, rounded once; never more than the base.

    What an amount that is off once cannot take here stays for the next invoices; one that repeats begins anew each
    time.
    """
    if base <= 0 or not lasts(terms, used):
        return ZERO
    if terms.percentage is not None:
        return round_money(EXACT.multiply(base, terms.percentage), currency)
    if terms.amount is None or terms.currency != currency:
        return ZERO
    left = EXACT.subtract(terms.amount, used.amount) if terms.duration == ONCE else terms.amount
    return min(left, base)


def with_coupons(
    lines: Sequence[TargetLine],
    coupons: Iterable[tuple[CouponTerms, Used]],
    *,
    currency: str,
    plan_id: int,
    prices: Mapping[int, int],
) -> list[TargetLine]:
    """Give the lines of an invoice with those of its coupons at the end: one for each charge a coupon is off.

    The coupons apply one after the other, the narrowest first, then in the order given; each to what those before it
    left. A percentage is of what the charges it is off come to, less rebates and corrections; its amount, rounded
    once, is shared out to them to the cent. No coupon takes an invoice below zero, nor a line.

    Args:
        lines: of one invoice, without coupons.
        coupons: with what each took off on other invoices.
        currency: decides the minor unit.
        plan_id: key of the plan that the invoice bills.
        prices: keys of prices by those of their revisions.
    """
    left = left_of_lines(lines)
    total = sum((line.gross for line in lines), ZERO)
    found = list(lines)
    for terms, used in sorted(coupons, key=lambda pair: pair[0].rank):
        eligible = [line for line in lines if _is_off(terms, line, plan_id, prices)]
        charges = [line for line in eligible if left[line.reference] > 0]
        # A credit is worth what was paid, coupons off already; a rebate and a correction are not.
        weights = sum((left[line.reference] for line in charges), ZERO)
        against = [left[line.reference] for line in eligible if line.kind != "adjustment"]
        base = EXACT.add(weights, sum((amount for amount in against if amount < 0), ZERO))
        off = min(taken_off(terms, used, base, currency=currency), total)
        if off <= 0:
            continue
        shares = allocate(off, [left[line.reference] for line in charges], digits=minor_digits(currency))
        for line, share in zip(charges, shares, strict=True):
            if not share:
                continue
            steps = _steps(terms, base, off, left[line.reference], weights, share, currency)
            found.append(cut_line(line, terms.source, terms.name, share, steps, _source(terms), currency=currency))
            left[line.reference] = EXACT.subtract(left[line.reference], share)
        total = EXACT.subtract(total, off)
    return found


def uses_in(lines: Iterable[TargetLine]) -> dict[str, Decimal]:
    """Give what each coupon takes off an invoice, by the redemption's id."""
    found: dict[str, Decimal] = {}
    for line in lines:
        if line.kind == "discount" and "coupon" in line.provenance.get("sources", {}):
            source = source_of(line.reference)
            found[source] = EXACT.subtract(found.get(source, ZERO), line.gross)
    return found


def _is_off(terms: CouponTerms, line: TargetLine, plan_id: int, prices: Mapping[int, int]) -> bool:
    if line.kind not in KINDS and not line.reference.startswith(RELEASED):
        return False
    price_id = prices.get(line.price_revision_id) if line.price_revision_id is not None else None
    return terms.is_off(price_id=price_id, metric_id=line.metric_id, plan_id=plan_id)


def _source(terms: CouponTerms) -> dict[str, Any]:
    return {"coupon": {"type": "coupon", "ref": {"appliedCouponId": terms.source, "code": terms.code}}}


def _steps(
    terms: CouponTerms, base: Decimal, off: Decimal, weight: Decimal, weights: Decimal, share: Decimal, currency: str
) -> list[dict[str, Any]]:
    """Give the calculation of one line of a coupon: what it takes off in all, and this charge's share of it."""
    steps = [step_of("replace", "amount", "0", base, {"amount": format_decimal(base)}, "line")]
    if terms.percentage is not None:
        numerator, denominator = terms.percentage.as_integer_ratio()
        exact = EXACT.multiply(base, terms.percentage)
        share_of = {
            "numerator": str(numerator), "denominator": str(denominator), "rate": format_decimal(terms.percentage),
        }  # fmt: skip
        steps.append(step_of("prorate", "amount", format_decimal(base), exact, share_of, "coupon"))
        rounding = {"digits": minor_digits(currency), "mode": "HALF_UP"}
        base = round_money(exact, currency)
        steps.append(step_of("round", "amount", format_decimal(exact), base, rounding, "currency"))
    if off != base:
        # What the coupon has left, or what the invoice comes to.
        bound = {"bound": format_decimal(off)}
        steps.append(step_of("cap", "amount", format_decimal(base), off, bound, "coupon"))
    steps.append(share_step(off, share, weight=weight, of=weights, currency=currency, source="line", is_off=True))
    return steps
