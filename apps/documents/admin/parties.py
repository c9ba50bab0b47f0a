"""Who documents are from and to, and the merchants' pictures on them."""

import base64
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.decorators import display
from unfold.widgets import UnfoldAdminFileFieldWidget

from apps.documents.models import InvoiceParties, Logo, PartyFacts
from apps.documents.services.logos import remove_logo, set_logo
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.adminsite.forms import check_by_rules


@admin.register(PartyFacts)
class PartyFactsAdmin(ReadOnlyModelAdmin):
    """Names, addresses and ids as documents say them."""

    empty_text = "What documents say of merchants and customers is kept here when an invoice is issued."
    list_display = ["__str__", "organization", "created_at"]
    list_filter = ["organization"]
    search_fields = ["facts__name", "=digest"]
    list_select_related = ["organization"]
    ordering = ["-id"]
    readonly_fields = ["said"]
    fields = ["organization", "said", "digest", "created_at"]

    @display(description="Facts")
    def said(self, row: PartyFacts) -> str:
        facts = sorted((name.replace("_", " "), value) for name, value in row.facts.items())
        return format_html_join(mark_safe("<br>"), "{}: {}", facts)


@admin.register(InvoiceParties)
class InvoicePartiesAdmin(ReadOnlyModelAdmin):
    """Who each issued invoice is from and to."""

    empty_text = "An invoice's parties are kept when it is issued."
    list_display = ["invoice_page", "seller_page", "buyer_page", "is_later", "created_at"]
    list_filter = ["organization", "is_later"]
    search_fields = ["invoice__number", "buyer__facts__name"]
    list_select_related = ["invoice", "seller", "buyer"]
    ordering = ["-id"]
    readonly_fields = ["invoice_page", "seller_page", "buyer_page"]
    fields = [
        "organization", "invoice_page", "seller_page", "buyer_page", "is_tax_exempt", "timezone", "is_later",
        "created_at",
    ]  # fmt: skip

    @display(description="Invoice")
    def invoice_page(self, row: InvoiceParties) -> str:
        return link(row.invoice)

    @display(description="From")
    def seller_page(self, row: InvoiceParties) -> str:
        return link(row.seller)

    @display(description="To")
    def buyer_page(self, row: InvoiceParties) -> str:
        return link(row.buyer)


class LogoForm(forms.ModelForm):
    """Takes a picture and puts it on what is issued from now on."""

    picture = forms.FileField(widget=UnfoldAdminFileFieldWidget, help_text="PNG or JPEG, at most 512 KiB.")

    class Meta:
        model = Logo
        fields = ["organization"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields.get("organization")
        if field is None:
            return  # only looked at
        field.label = "Merchant"
        field.queryset = field.queryset.filter(is_merchant=True)

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, self._make, {"logo": "picture"})

    def _make(self) -> None:
        content = self.cleaned_data["picture"].read()
        self.instance = set_logo(organization=self.cleaned_data["organization"], content=content)

    def save(self, commit: bool = True) -> Logo:
        """Give the picture that was put."""
        logo: Logo = self.instance
        return logo

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""


def _take_off(call: Call) -> str:
    remove_logo(organization=call.row.organization)
    return "Documents that are issued from now on have no picture."


@admin.register(Logo)
class LogoAdmin(BillingModelAdmin):
    """Pictures on documents; issued ones keep theirs."""

    empty_text = "Add a merchant's picture, and it stands on what is issued from then on."
    add_right: ClassVar[str | None] = "administer"
    list_display = ["organization", "is_current", "media_type", "created_at"]
    list_filter = ["organization", "is_current"]
    list_select_related = ["organization"]
    ordering = ["-id"]
    form = LogoForm
    readonly_fields = ["picture_shown", "digest", "media_type", "is_current", "created_at"]
    actions_detail = ["take_off"]

    take_off = service_action(
        title="Take off",
        permissions=["administer"],
        description="Documents that are issued from now on have no picture; issued ones keep it.",
        run=_take_off,
        icon="hide_image",
        fits=lambda logo: logo.is_current,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("content")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["organization", "picture"]
        return ["organization", "picture_shown", "is_current", "media_type", "digest", "created_at"]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """It is made by the form."""

    @display(description="Picture")
    def picture_shown(self, logo: Logo) -> str:
        data = base64.b64encode(logo.content).decode()
        return format_html('<img alt="" height="64" src="data:{};base64,{}">', logo.media_type, data)
