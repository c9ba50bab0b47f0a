"""Alerts of usage: made, changed, and fired when it passes a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.catalog.domain.thresholds import Marks, marks_of
from apps.catalog.models import BillableMetric, MetricMode
from apps.invoicing.events import AlertChanged, AlertTriggered
from apps.invoicing.models import Alert, AlertDirection, AlertFiring, AlertScope, AlertType
from apps.invoicing.selectors.watching import total_of
from apps.invoicing.services.thresholds import look_anew
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.ids import new_id
from apps.kernel.money import format_decimal, minor_digits, round_to
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.outbox.services import publish
from apps.subscriptions.models import Subscription, SubscriptionStatus

# What a column of quantities keeps.
PLACES = 9


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a subscription saw.

    Attributes:
        present: of the subscription.
        alerts: those that are set on it.
        in_period: what usage of the open period comes to, by the metric's key, before tax and discounts.
        in_life: what all usage since the start comes to, where that is asked for.
    """

    subscription: Subscription
    present: datetime
    alerts: Sequence[Alert]
    in_period: Mapping[int, Decimal]
    in_life: Mapping[int, Decimal]


@dataclass(frozen=True, slots=True)
class AlertTerms:
    """What an alert watches; see `Alert`.

    Attributes:
        thresholds: the wire's list of decimal strings.
        every: a decimal string; None without a recurring value.
    """

    name: str
    type: str
    metric: BillableMetric | None = None
    scope: str = AlertScope.PERIOD
    direction: str = AlertDirection.RISING
    thresholds: Any = None
    every: Any = None


@transaction.atomic
def create_alert(*, subscription_id: int, terms: AlertTerms, as_of: datetime) -> Alert:
    """Set an alert on a subscription; what its usage has passed already in the period fires at the next look.

    Raises:
        InvalidError: the terms contradict each other; every bad field is named.
        ConflictError: the subscription has ended.
    """
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    if subscription.status == SubscriptionStatus.TERMINATED:
        raise ConflictError("The subscription has ended.", code="SUBSCRIPTION_TERMINATED")
    alert = Alert(
        organization_id=subscription.organization_id,
        subscription=subscription,
        name=terms.name,
        type=terms.type,
        metric=terms.metric,
        scope=terms.scope,
        direction=terms.direction,
    )
    errors = _problems(alert)
    try:
        _set_marks(alert, terms.thresholds, terms.every)
    except InvalidError as error:
        errors += error.errors
    if errors:
        raise InvalidError("The alert is malformed.", errors=errors)
    alert.save()
    _announce_change(alert, as_of)
    look_anew(subscription_id=subscription.pk)
    return alert


@transaction.atomic
def update_alert(*, alert_id: int, changes: Mapping[str, Any], as_of: datetime) -> Alert:
    """Change the name or the values of an alert; a value that fired in the period does not fire in it again.

    Args:
        alert_id: the alert's key.
        changes: `name`, `thresholds`, `every`; what is left out stays.
        as_of: present of the subscription.

    Raises:
        InvalidError: the values are malformed.
    """
    alert = _locked(alert_id)
    alert.name = changes.get("name", alert.name)
    if "thresholds" in changes or "every" in changes:
        every = changes.get("every", alert.every or None)
        _set_marks(alert, changes.get("thresholds", alert.thresholds), every)
        alert.seen_value = None
        look_anew(subscription_id=alert.subscription_id)
    alert.save()
    _announce_change(alert, as_of)
    return alert


@transaction.atomic
def delete_alert(*, alert_id: int, as_of: datetime) -> None:
    """Take an alert away; what it fired stays in its history. Twice is fine."""
    alert = _locked(alert_id)
    if alert.deleted_at is None:
        alert.deleted_at = as_of
        alert.save(update_fields=["deleted_at", "updated_at"])
        _announce_change(alert, as_of)


def fire_alerts(seen: Sequence[Seen]) -> list[AlertFiring]:
    """Fire the alerts whose values were passed, each value once a period (caller's transaction, under locks).

    Returns:
        What fired.
    """
    pairs = [(look, alert) for look in seen for alert in look.alerts]
    if not pairs:
        return []
    quantities = _quantities(pairs)
    fired = set(
        AlertFiring.objects.filter(
            alert__in=[alert for _, alert in pairs],
            period_number__in={0, *(look.subscription.period_number for look in seen)},
        ).values_list("alert_id", "period_number", "threshold")
    )
    firings: list[AlertFiring] = []
    for look, alert in pairs:
        is_lifetime = alert.scope == AlertScope.LIFETIME
        period = 0 if is_lifetime else look.subscription.period_number
        if alert.type == AlertType.USAGE_QUANTITY:
            found = quantities[alert.pk]
        else:
            found = total_of(look.in_life if is_lifetime else look.in_period, alert.metric_id)
        if found is None:
            continue  # nothing was measured yet
        value = round_to(found, PLACES)
        is_rising = alert.direction == AlertDirection.RISING
        previous = alert.seen_value if alert.seen_period == period else None
        if previous is None:
            # Usage of a period rises from nothing; what falls, falls from where it was first seen.
            previous = Decimal(0) if is_rising else value
        for mark in marks_of(alert.thresholds, alert.every or None).crossed(previous, value, is_rising=is_rising):
            if (alert.pk, period, mark) not in fired:
                firings.append(_firing(alert, period, mark, value, look.present))
        alert.seen_value, alert.seen_period = value, period
    AlertFiring.objects.bulk_create(firings)
    Alert.objects.bulk_update([alert for _, alert in pairs], ["seen_value", "seen_period"])
    subscriptions = {look.subscription.pk: look.subscription for look in seen}
    for firing in firings:
        _announce(firing, subscriptions[firing.alert.subscription_id])
    return firings


def _locked(alert_id: int) -> Alert:
    """Lock an alert's subscription, as a look does, and then read it."""
    rows = Alert.objects.filter(pk=alert_id)
    Subscription.objects.select_for_update(no_key=True).get(pk__in=rows.values("subscription_id"))
    return Alert.objects.select_related("subscription", "metric").get(pk=alert_id)


def _problems(alert: Alert) -> list[FieldError]:
    errors = []
    if alert.type == AlertType.USAGE_QUANTITY and alert.metric is None:
        errors.append(FieldError("billableMetricId", "Name the metric whose quantity is watched.", "required"))
    if alert.metric is not None and alert.metric.mode == MetricMode.FLAT:
        message = "A flat metric counts no usage; its quantity is chosen."
        errors.append(FieldError("billableMetricId", message, "invalid"))
    is_plain = alert.type == AlertType.USAGE_QUANTITY and alert.scope == AlertScope.PERIOD
    if alert.direction == AlertDirection.FALLING and not is_plain:
        message = "Only the quantity of a metric in a period can be watched as it falls."
        errors.append(FieldError("direction", message, "invalid"))
    return errors


def _set_marks(alert: Alert, once: Any, every: Any) -> None:
    is_amount = alert.type == AlertType.USAGE_AMOUNT
    places = minor_digits(alert.subscription.currency) if is_amount else PLACES
    marks = Marks.parse(once, every, path="", name="thresholds", places=places)
    alert.thresholds = [format_decimal(mark) for mark in marks.once]
    alert.every = "" if marks.every is None else format_decimal(marks.every)


def _announce_change(alert: Alert, as_of: datetime) -> None:
    publish(
        AlertChanged(
            alert_id=alert.public_id,
            subscription_id=alert.subscription.public_id,
            is_deleted=alert.deleted_at is not None,
        ),
        organization_id=alert.organization_id,
        object_id=alert.public_id,
        at=as_of,
    )


def _quantities(pairs: Sequence[tuple[Seen, Alert]]) -> dict[int, Decimal | None]:
    """Give the quantities that alerts are set on, by the alert's key, with one set of queries."""
    asked = [(look, alert) for look, alert in pairs if alert.type == AlertType.USAGE_QUANTITY]
    subjects = subjects_of(customer_ids=sorted({look.subscription.customer_id for look, _ in asked}))
    requests = []
    for look, alert in asked:
        subscription = look.subscription
        is_lifetime = alert.scope == AlertScope.LIFETIME
        start = subscription.started_at if is_lifetime else subscription.period_start
        assert alert.metric_id is not None
        assert start is not None
        assert subscription.period_end is not None
        requests.append(
            UsageRequest(
                organization_id=alert.organization_id,
                metric_id=alert.metric_id,
                subjects=subjects.get(subscription.customer_id, ()),
                start=start,
                end=subscription.period_end,
            )
        )
    answers = period_usage(requests=requests)
    return {alert.pk: answer for (_, alert), answer in zip(asked, answers, strict=True)}


def _firing(alert: Alert, period: int, mark: Decimal, value: Decimal, at: datetime) -> AlertFiring:
    return AlertFiring(
        public_id=new_id(AlertFiring.PREFIX),
        organization_id=alert.organization_id,
        alert=alert,
        period_number=period,
        threshold=mark,
        value=value,
        fired_at=at,
    )


def _announce(firing: AlertFiring, subscription: Subscription) -> None:
    alert = firing.alert
    publish(
        AlertTriggered(
            alert_id=alert.public_id,
            subscription_id=subscription.public_id,
            name=alert.name,
            type=alert.type,
            threshold=firing.threshold,
            value=firing.value,
            period_number=firing.period_number,
        ),
        organization_id=alert.organization_id,
        object_id=alert.public_id,
        at=firing.fired_at,
    )
