"""The admin skin: name, colours, menu."""

from typing import Any

from django.urls import reverse, reverse_lazy


def _entry(title: str, icon: str, model: str, right: str = "view") -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model}_changelist"),
        # The sign-in page draws the menu too, for nobody.
        "permission": lambda request, right=right: request.user.is_authenticated and request.user.has_right(right),
    }


def _is_exploring(request: Any) -> bool:
    return bool(request.path == reverse("admin:metering_usage_explorer"))


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Metergate",
    "SITE_HEADER": "Metergate",
    "SITE_SUBHEADER": "Usage billing",
    "SITE_SYMBOL": "speed",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: "/static/metergate/icon.svg"},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "config.overview.dashboard",
    "STYLES": [lambda request: "/static/metergate/admin.css"],
    "COMMAND": {"search_models": True, "show_history": True},
    "COLORS": {
        "primary": {
            "50": "239 246 255",
            "100": "219 234 254",
            "200": "191 219 254",
            "300": "147 197 253",
            "400": "96 165 250",
            "500": "37 99 235",
            "600": "29 78 216",
            "700": "30 64 175",
            "800": "30 58 138",
            "900": "23 37 84",
            "950": "15 23 42",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "title": "Work",
                "items": [
                    {
                        "title": "Overview",
                        "icon": "monitoring",
                        "link": reverse_lazy("admin:index"),
                    },
                    _entry("Invoices", "receipt_long", "invoicing_invoice"),
                    _entry("Invoice lines", "list_alt", "invoicing_invoiceline"),
                    _entry("Billing runs", "playlist_play", "invoicing_billingrun"),
                    _entry("Invoices of runs", "checklist", "invoicing_billingrunitem"),
                    _entry("Voids and write-offs", "block", "invoicing_invoicedecision"),
                    _entry("Credit notes", "undo", "invoicing_creditnote"),
                    _entry("Credit note lines", "playlist_remove", "invoicing_creditnoteline"),
                    _entry("Grants and bursts sold", "shopping_cart", "invoicing_purchase"),
                    _entry("Payment sessions", "credit_card", "invoicing_paymentsession"),
                    _entry("Documents", "picture_as_pdf", "documents_invoicedocument"),
                    _entry("Credit note documents", "picture_as_pdf", "documents_creditnotedocument"),
                ],
            },
            {
                "title": "Customers",
                "items": [
                    _entry("Customers", "groups", "customers_customer"),
                    _entry("Subscriptions", "autorenew", "subscriptions_subscription"),
                    _entry("Entitlements", "verified_user", "entitlements_entitlement"),
                    _entry("Grants", "card_giftcard", "entitlements_grant"),
                    _entry("Reservations", "lock_clock", "entitlements_reservation"),
                    _entry("Resets by hand", "restart_alt", "entitlements_usagereset"),
                    _entry("Slot pools", "view_module", "entitlements_slotpool"),
                    _entry("Slots", "bolt", "entitlements_slot"),
                    _entry("Slot bursts", "trending_up", "entitlements_slotburst"),
                    _entry("Adjustments", "percent", "invoicing_subscriptionadjustment"),
                    _entry("Agreed spend", "handshake", "invoicing_spendagreement"),
                    _entry("Price changes", "timeline", "subscriptions_subscriptionintervalchange"),
                    _entry("Balances", "account_balance_wallet", "invoicing_customerbalance"),
                    _entry("Balance entries", "swap_vert", "invoicing_balanceentry"),
                    _entry("Redeemed coupons", "redeem", "invoicing_appliedcoupon"),
                    _entry("Alerts", "notifications", "invoicing_alert"),
                    _entry("Alert history", "notifications_active", "invoicing_alertfiring"),
                    _entry("Passed thresholds", "stacked_line_chart", "invoicing_passedthreshold"),
                    _entry("Looks at usage", "visibility", "invoicing_usagelook"),
                ],
            },
            {
                "title": "Usage",
                "items": [
                    {
                        **_entry("Usage explorer", "query_stats", "metering_usagewindow"),
                        "link": reverse_lazy("admin:metering_usage_explorer"),
                        "active": _is_exploring,
                    },
                    {
                        **_entry("Usage by hour", "bar_chart", "metering_usagewindow"),
                        # Its address is the beginning of the explorer's.
                        "active": lambda request: (
                            "/metering/usagewindow/" in request.path and not _is_exploring(request)
                        ),
                    },
                    _entry("Meter events", "bolt", "metering_meterevent"),
                    _entry("Voided events", "event_busy", "metering_eventvoid"),
                    _entry("Void jobs", "playlist_remove", "metering_voidjob"),
                    _entry("Backfills", "history", "metering_backfilljob"),
                    _entry("Parked events", "pending_actions", "metering_parkedevent"),
                    _entry("Dead letters", "report", "metering_deadletter"),
                    _entry("Key conflicts", "difference", "metering_eventconflict"),
                    _entry("Imports", "upload_file", "metering_importjob"),
                    _entry("Exports", "inventory", "metering_eventexport", "develop"),
                ],
            },
            {
                "title": "Catalogue",
                "items": [
                    _entry("Products", "inventory_2", "catalog_product"),
                    _entry("Plans", "sell", "catalog_plan"),
                    {
                        **_entry("Simulation", "calculate", "catalog_plan", "export"),
                        "link": reverse_lazy("simulation"),
                    },
                    _entry("Prices", "price_change", "catalog_price"),
                    _entry("Rate feeds", "show_chart", "catalog_ratefeed"),
                    _entry("Metrics", "speed", "catalog_billablemetric"),
                    _entry("Fees", "payments", "catalog_fee"),
                    _entry("Features", "toggle_on", "catalog_feature"),
                    _entry("Coupons", "confirmation_number", "catalog_coupon"),
                ],
            },
            {
                "title": "Taxes",
                "items": [
                    _entry("Registrations", "assured_workload", "taxes_taxregistration"),
                    _entry("Rates", "percent", "taxes_taxrate"),
                    _entry("Product categories", "category", "taxes_taxcategory"),
                    _entry("Exempt customers", "verified", "taxes_taxexemption"),
                    _entry("Decisions", "gavel", "taxes_taxtreatment"),
                ],
            },
            {
                "title": "Developers",
                "items": [
                    _entry("API keys", "key", "organizations_apikey", "develop"),
                    _entry("Test clocks", "schedule", "subscriptions_testclock"),
                    _entry("Announcements", "campaign", "outbox_outboxevent"),
                    _entry("Schedule", "event_repeat", "django_celery_beat_periodictask", "develop"),
                ],
            },
            {
                "title": "Settings",
                "items": [
                    _entry("Organizations", "apartment", "organizations_organization"),
                    _entry("Members", "badge", "organizations_membership", "administer"),
                    _entry("People", "person", "organizations_user", "administer"),
                    _entry("Number formats", "pin", "invoicing_numberingformat"),
                    _entry("Number series", "tag", "invoicing_numberseries"),
                    _entry("Logos", "image", "documents_logo"),
                ],
            },
        ],
    },
}
