from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectMultipleWidget

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.admin.plans import PriceChoiceField
from apps.catalog.models import BillableMetric, Coupon, CouponTarget, Plan, Price
from apps.catalog.services.coupons import (
    CHANGEABLE,
    Limits,
    archive_coupon,
    check_coupon,
    create_coupon,
    update_coupon,
)
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import link, related_lists
from apps.kernel.adminsite.forms import check_by_rules
from apps.kernel.adminsite.inlines import ReadOnlyInline
from apps.kernel.money import format_decimal, format_money

NAMES = {
    "code": "code",
    "percentageOff": "percentage",
    "amountOff": "amount",
    "currency": "currency",
    "durationPeriods": "duration_periods",
    "maxRedemptions": "max_redemptions",
    "maxRedemptionsPerCustomer": "max_redemptions_per_customer",
}
LIMITS = ("prices", "metrics", "plans")
TERMS = [
    "organization", "code", "percentage", "amount", "currency", "duration", "duration_periods",
]  # fmt: skip


class CouponForm(forms.ModelForm):
    """A new coupon, or what of one may still change."""

    prices = PriceChoiceField(
        Price.objects.filter(deleted_at__isnull=True).order_by("invoice_display_name"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(attrs={"size": 5}),
    )
    metrics = forms.ModelMultipleChoiceField(
        BillableMetric.objects.filter(deleted_at__isnull=True).order_by("name"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(attrs={"size": 5}),
    )
    plans = forms.ModelMultipleChoiceField(
        Plan.objects.filter(deleted_at__isnull=True).order_by("name"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(attrs={"size": 5}),
        help_text="Nothing chosen in the three: it is off everything.",
    )
    # Whose rows may be chosen; None: everybody's.
    visible_organization_ids: ClassVar[list[int] | None] = None

    class Meta:
        model = Coupon
        fields = [*TERMS, *(name for name in CHANGEABLE)]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.visible_organization_ids is not None:
            for name in set(LIMITS) & set(self.fields):
                field: Any = self.fields[name]
                field.queryset = field.queryset.filter(organization_id__in=self.visible_organization_ids)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        organization = data.get("organization")
        for name in LIMITS:
            if organization is not None and any(row.organization_id != organization.pk for row in data.get(name, ())):
                self.add_error(name, "Choose rows of the coupon's own organization.")
        return data

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, lambda: check_coupon(self.instance), NAMES)


class TargetInline(ReadOnlyInline):
    """What it is limited to."""

    model = CouponTarget
    fields = readonly_fields = ["of"]
    verbose_name_plural = "Limited to"

    @display(description="Only off")
    def of(self, row: CouponTarget) -> str:
        return link(row.price or row.metric or row.plan)


def _archive(call: Call) -> str:
    archive_coupon(coupon_id=call.row.pk, as_of=call.now)
    return f"{call.row.code} is archived; who has it keeps it."


@admin.register(Coupon)
class CouponAdmin(CatalogAdmin):
    """Discounts that customers redeem by a code."""

    empty_text = "A coupon is a discount that customers redeem by its code."
    form = CouponForm
    list_display = ["code", "name", "takes_off", "lasts", "limited_to", "redeemed", "expires_at", "state"]
    list_filter = ["organization", "duration", ("archived_at", admin.EmptyFieldListFilter)]
    search_fields = ["code", "name", "public_id"]
    list_select_related = ["organization"]
    readonly_fields = ["public_id", "redemption_count", "archived_at", "redemptions"]
    exclude = []
    inlines = [TargetInline]
    actions_detail = ["archive"]

    archive = service_action(
        title="Archive",
        permissions=["edit_catalog"],
        description="Nobody redeems it any more; who has it keeps it, and its code is free again.",
        run=_archive,
        icon="archive",
        fits=lambda row: row.archived_at is None,
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets__price", "targets__metric", "targets__plan")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made: Any = super().get_form(request, obj, change, **kwargs)
        person: Any = request.user
        # On the class made for this request: declared fields are shared by all of them.
        made.visible_organization_ids = person.visible_organization_ids()
        return made

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [*TERMS, *CHANGEABLE, *LIMITS]
        return ["public_id", *TERMS, *CHANGEABLE, "redemption_count", "redemptions", "archived_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, *TERMS] if obj is not None else ()

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        fields = dict(form.cleaned_data)
        if change:
            changes = {name: value for name, value in fields.items() if name in CHANGEABLE}
            update_coupon(coupon_id=obj.pk, changes=changes)
            return
        chosen = {name: list(fields.pop(name)) for name in LIMITS}
        made = create_coupon(
            organization_id=fields.pop("organization").pk,
            limits=Limits(prices=chosen["prices"], metrics=chosen["metrics"], plans=chosen["plans"]),
            **fields,
        )
        obj.pk, obj.public_id = made.pk, made.public_id

    @display(description="Takes off")
    def takes_off(self, coupon: Coupon) -> str:
        if coupon.percentage is not None:
            return f"{format_decimal(coupon.percentage * 100)} %"
        return format_money(coupon.amount, coupon.currency) if coupon.amount is not None else "—"

    @display(description="Lasts", ordering="duration")
    def lasts(self, coupon: Coupon) -> str:
        if coupon.duration_periods is not None:
            return f"{coupon.duration_periods} invoices"
        return str(coupon.get_duration_display()).lower()

    @display(description="Only off")
    def limited_to(self, coupon: Coupon) -> str:
        targets = coupon.targets.all()
        return format_html_join(", ", "{}", ((link(t.price or t.metric or t.plan),) for t in targets)) or "—"

    @display(description="Redeemed", ordering="redemption_count")
    def redeemed(self, coupon: Coupon) -> str:
        most = coupon.max_redemptions
        return f"{coupon.redemption_count}" if most is None else f"{coupon.redemption_count} of {most}"

    @display(description="State", label={"live": "success", "archived": "danger"})
    def state(self, coupon: Coupon) -> str:
        return "live" if coupon.archived_at is None else "archived"

    @display(description="See also")
    def redemptions(self, coupon: Coupon) -> str:
        # The list of a higher app, by address: this app does not know its models.
        return related_lists(("Redemptions", "invoicing_appliedcoupon", "coupon__id__exact", coupon.pk))
