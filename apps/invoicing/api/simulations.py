"""Terms priced over usage, over the wire: who would pay more, who less. Nothing is stored."""

from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.domain.cadences import find_cadence_problem
from apps.catalog.models import BillableMetric, Fee, MetricMode, Plan, Price
from apps.catalog.selectors.catalog import features_of, fees_of, metrics_of, plans_of, prices_of
from apps.customers.models import Customer
from apps.customers.selectors.customers import customers_of
from apps.invoicing.api.previews import lines_of
from apps.invoicing.api.simulation_inputs import MOST_CUSTOMERS, PROVENANCE, SimulationRequestSerializer
from apps.invoicing.domain.simulation import GivenUsage
from apps.invoicing.domain.targets import TargetLine, Totals
from apps.invoicing.selectors.simulated import Offer, SimulatedBill, Simulation, assumptions_of
from apps.invoicing.selectors.simulated_rights import BASES, AssumedUnits
from apps.invoicing.selectors.simulating import COMPARISONS, PRESENT, simulate, simulate_given, subscribers_of
from apps.invoicing.services.offers import draft_offer, version_offer
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError, NotFoundError
from apps.kernel.http.fields import InstantField
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount, format_decimal, is_currency
from apps.kernel.time import Period, floor_hour, format_instant

MOST_EXPLAINED, MOST_EVENTS = 50, 100_000


class SumsSerializer(serializers.Serializer[Any]):
    subtotal = serializers.CharField()
    tax = serializers.CharField()
    total = serializers.CharField()


class AssumedUnitsSerializer(serializers.Serializer[Any]):
    """What a right to a feature took off usage: one that is there, or one by the template of the terms."""

    featureId = serializers.CharField()
    featureKey = serializers.CharField()
    basis = serializers.ChoiceField(choices=BASES)
    entitlementIds = serializers.ListField(child=serializers.CharField())
    covered = serializers.CharField(help_text="Units that cost nothing.")


class SimulatedBillSerializer(SumsSerializer):
    """What one customer would be billed."""

    customerId = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    compared = SumsSerializer(allow_null=True)
    difference = serializers.CharField(allow_null=True)
    allowances = AssumedUnitsSerializer(many=True)
    comparedAllowances = AssumedUnitsSerializer(many=True)
    lines = serializers.ListField(child=serializers.DictField(), required=False)
    comparedLines = serializers.ListField(child=serializers.DictField(), required=False)


class SimulationTotalsSerializer(serializers.Serializer[Any]):
    """Sums over the bills, without tax; those that cannot be compared are in `simulated` alone."""

    simulated = serializers.CharField()
    compared = serializers.CharField()
    difference = serializers.CharField()


class SimulationCountsSerializer(serializers.Serializer[Any]):
    """How many would pay more, less, the same, and how many cannot be compared."""

    more = serializers.IntegerField()
    less = serializers.IntegerField()
    same = serializers.IntegerField()
    notCompared = serializers.IntegerField()


class SimulationSerializer(serializers.Serializer[Any]):
    """Bills under the terms, those that would rise most first."""

    object = serializers.CharField()
    currency = serializers.CharField()
    compareWith = serializers.ChoiceField(choices=COMPARISONS)
    totals = SimulationTotalsSerializer()
    counts = SimulationCountsSerializer()
    assumptions = serializers.ListField(child=serializers.CharField())
    bills = SimulatedBillSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        return fields | {"from": InstantField(), "to": InstantField()}


class SimulationList(ContractView):
    scopes: ClassVar[dict[str, str]] = {"POST": "invoices:read"}

    @extend_schema(operation_id="simulateTerms", request=SimulationRequestSerializer, responses=SimulationSerializer)
    def post(self, request: Request) -> Response:
        """Price a plan, a version of it or a draft over usage; nothing is stored."""
        data = self.read(SimulationRequestSerializer)
        offer = self._offer(data)
        asked: dict[str, Any] = {
            "offer": offer,
            "tz": data["timeZone"],
            "with_one_time": data["oneTimeFees"],
            "as_of": wall_now(),
        }
        expand = set(data.get("expand", ()))
        if "usage" in data:
            made = simulate_given(
                organization_id=self.organization_id,
                given=self._given(data["usage"], offer),
                start=data.get("from", floor_hour(asked["as_of"])),
                **asked,
            )
            return Response(_rendered(made, expand))
        period = Period(data["from"], data["to"])
        customers = self._customers(data, period)
        if PROVENANCE in expand and len(customers) > MOST_EXPLAINED:
            message = f"Calculations are given of at most {MOST_EXPLAINED} customers at once."
            raise InvalidError(message, errors=[FieldError("expand", message, "too_many")])
        made = simulate(customers=customers, period=period, comparison=data.get("compareWith", PRESENT), **asked)
        return Response(_rendered(made, expand))

    def _offer(self, data: dict[str, Any]) -> Offer:
        plans = plans_of(organization_id=self.organization_id)
        if "planId" in data:
            plan = self.get_own(plans, data["planId"], "plan")
            return version_offer(plan=plan, number=data.get("versionNumber"))
        draft = data["draft"]
        base = self.get_own(plans, draft["planId"], "plan") if "planId" in draft else None
        plan = _drafted(draft, base, self.organization_id)
        try:
            return draft_offer(plan=plan, prices=[self._price(line, plan) for line in draft["prices"]])
        except InvalidError as error:
            errors = [FieldError(f"draft.{one.field}", one.message, one.code) for one in error.errors]
            raise InvalidError(error.message, errors=errors) from error

    def _price(self, line: Any, plan: Plan) -> Price:
        organization_id = self.organization_id
        if isinstance(line, str):
            return self.get_own(prices_of(organization_id=organization_id), line, "price")
        metric: BillableMetric | None = None
        fee: Fee | None = None
        if "billableMetricId" in line:
            metrics = metrics_of(organization_id=organization_id)
            metric = self.get_own(metrics, line["billableMetricId"], "billable metric")
        if "feeId" in line:
            fee = self.get_own(fees_of(organization_id=organization_id), line["feeId"], "fee")
        if metric is None and fee is None:
            fee = Fee(organization_id=organization_id, product_id=plan.product_id, name=line["invoiceDisplayName"])
        counts = metric is not None and metric.mode == MetricMode.USAGE
        return Price(
            organization_id=organization_id,
            metric=metric,
            fee=fee,
            model=line["model"],
            properties=line["properties"],
            payment_term=line.get("paymentTerm", "in_arrears" if counts else "in_advance"),
            billing_cadence=line.get("billingCadence", plan.billing_cadence if metric is None else ""),
            quantity=line["quantity"],
            is_obligation=line["isObligation"],
            invoice_display_name=line["invoiceDisplayName"],
            **self._feature(line.get("feature")),
        )

    def _feature(self, sent: dict[str, Any] | None) -> dict[str, Any]:
        if sent is None:
            return {}
        feature = self.get_own(features_of(organization_id=self.organization_id), sent["featureId"], "feature")
        return {"feature": feature, "entitlement_template": sent.get("entitlementTemplate")}

    def _customers(self, data: dict[str, Any], period: Period) -> list[Customer]:
        if "subscribersOf" in data:
            plan = self.get_own(plans_of(organization_id=self.organization_id), data["subscribersOf"], "plan")
            found = subscribers_of(plan=plan, period=period, limit=MOST_CUSTOMERS)
            if len(found) > MOST_CUSTOMERS:
                message = f"It has more than {MOST_CUSTOMERS:,} customers in that time; name them by customerIds."
                raise InvalidError(message, errors=[FieldError("subscribersOf", message, "too_many")])
            return found
        wanted = dict.fromkeys(data["customerIds"])
        rows = customers_of(organization_id=self.organization_id).filter(public_id__in=list(wanted))
        known = {customer.public_id: customer for customer in rows}
        for public_id in wanted:
            if public_id not in known:
                raise NotFoundError(f"There is no customer {public_id}.")
        return [known[public_id] for public_id in wanted]

    def _given(self, rows: list[dict[str, Any]], offer: Offer) -> list[GivenUsage]:
        """Read made-up usage; each of it must be of a metric that the terms price."""
        metrics = {row.metric.public_id: row.metric for row in offer.revisions if row.metric and row.bills_usage}
        errors: list[FieldError] = []
        found: list[GivenUsage] = []
        seen: set[tuple[int, tuple[tuple[str, str], ...]]] = set()
        for index, row in enumerate(rows):
            metric = metrics.get(row["billableMetricId"])
            if metric is None:
                message = "The terms have no price of this metric."
                errors.append(FieldError(f"usage.{index}.billableMetricId", message, "not_priced"))
                continue
            group = row.get("group", {})
            for name in group.keys() - metric.group_by.keys():
                message = f"The metric has no dimension {name}."
                errors.append(FieldError(f"usage.{index}.group", message, "invalid"))
            key = (metric.pk, tuple(sorted(group.items())))
            if metric.aggregation not in ("SUM", "COUNT") and key in seen:
                message = "Quantities of this metric do not add up; give one a group."
                errors.append(FieldError(f"usage.{index}.quantity", message, "duplicate"))
            seen.add(key)
            found.append(GivenUsage(metric.pk, row["quantity"], group, row["events"], row.get("rate")))
        if sum(row.events for row in found) > MOST_EVENTS:
            errors.append(FieldError("usage", f"Give at most {MOST_EVENTS:,} events at once.", "too_many"))
        if errors:
            raise InvalidError("The usage does not fit the terms.", errors=errors)
        return found


def _drafted(draft: dict[str, Any], base: Plan | None, organization_id: int) -> Plan:
    """Give an unsaved plan of what a draft says, and of what its base does where it says nothing."""
    if base is None and "currency" not in draft:
        message = "Give a currency, or the planId of a plan to begin with."
        raise InvalidError(message, errors=[FieldError("draft.currency", message, "required")])
    plan = Plan(organization_id=organization_id, name="Draft", default_tax_rate=Decimal(0))
    if base is not None:
        plan = Plan(
            organization_id=organization_id,
            public_id=base.public_id,
            product_id=base.product_id,
            name=base.name,
            currency=base.currency,
            billing_cadence=base.billing_cadence,
            proration=base.proration,
            tax_behavior=base.tax_behavior,
            default_tax_rate=base.default_tax_rate,
            default_tax_code=base.default_tax_code,
        )
    names = {
        "currency": "currency", "billingCadence": "billing_cadence", "proration": "proration",
        "taxBehavior": "tax_behavior", "defaultTaxRate": "default_tax_rate",
    }  # fmt: skip
    for name, own in names.items():
        if name in draft:
            setattr(plan, own, draft[name])
    if not is_currency(plan.currency):
        message = "Give an ISO 4217 code, such as USD."
        raise InvalidError(message, errors=[FieldError("draft.currency", message, "invalid")])
    problem = find_cadence_problem(plan.billing_cadence)
    if problem is not None:
        raise InvalidError(problem, errors=[FieldError("draft.billingCadence", problem, "invalid")])
    return plan


def _rendered(made: Simulation, expand: set[str]) -> dict[str, Any]:
    currency = made.offer.plan.currency
    return {
        "object": "simulation",
        "currency": currency,
        "from": format_instant(made.period.start),
        "to": format_instant(made.period.end),
        "compareWith": made.comparison,
        "totals": {
            "simulated": format_amount(made.total, currency),
            "compared": format_amount(made.compared_total, currency),
            "difference": format_amount(made.difference, currency),
        },
        "counts": made.counted(),
        "assumptions": assumptions_of(made),
        "bills": [_bill(bill, currency, expand) for bill in made.bills],
    }


def _bill(bill: SimulatedBill, currency: str, expand: set[str]) -> dict[str, Any]:
    customer = bill.customer
    found: dict[str, Any] = {
        "customerId": None if customer is None else customer.public_id,
        "name": None if customer is None else customer.consumer.name,
        **_sums(bill.totals, currency),
        "compared": None if bill.compared is None else _sums(bill.compared, currency),
        "difference": None if bill.difference is None else format_amount(bill.difference, currency),
        "allowances": [_units(units) for units in bill.units],
        "comparedAllowances": [_units(units) for units in bill.compared_units],
    }
    if expand:
        found["lines"] = _lines(bill.lines, currency, expand)
        if bill.compared_lines:
            found["comparedLines"] = _lines(bill.compared_lines, currency, expand)
    return found


def _units(units: AssumedUnits) -> dict[str, Any]:
    return {
        "featureId": units.feature.public_id,
        "featureKey": units.feature.key,
        "basis": units.basis,
        "entitlementIds": [right.public_id for right in units.rights],
        "covered": format_decimal(units.covered),
    }


def _lines(lines: tuple[TargetLine, ...], currency: str, expand: set[str]) -> list[dict[str, Any]]:
    found = lines_of(lines, currency)
    if PROVENANCE in expand:
        for line, shown in zip(lines, found, strict=True):
            shown["provenance"] = dict(line.provenance)
    return found


def _sums(totals: Totals, currency: str) -> dict[str, str]:
    return {
        "subtotal": format_amount(totals.subtotal, currency),
        "tax": format_amount(totals.total_tax, currency),
        "total": format_amount(totals.grand_total, currency),
    }
