"""The pages as a person meets them, in a real browser against a running stack."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.xdist_group("live"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine: browser tests are skipped"),
]


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        yield page
        browser.close()


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    """A page whose console must stay free of errors."""
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    def raised(error: Any) -> None:
        problems.append(str(error))

    browser_page.on("console", note)
    browser_page.on("pageerror", raised)
    yield browser_page
    browser_page.remove_listener("console", note)
    browser_page.remove_listener("pageerror", raised)
    assert problems == []


def sign_in(page: Page, stack: dict[str, Any], login: str | None = None) -> None:
    page.context.clear_cookies()
    page.goto(stack["admin_url"])
    page.fill("input[name=username]", login or stack["admin_login"])
    page.fill("input[name=password]", stack["admin_password"])
    page.click("button[type=submit]")
    page.wait_for_url(stack["admin_url"])


def test_every_entry_of_the_menu_opens(page: Page, stack: dict[str, Any]) -> None:
    sign_in(page, stack)
    assert page.locator("svg.mg-chart rect").count() >= 14
    links = page.eval_on_selector_all("a", "found => found.map(a => a.href)")
    screens = sorted({link for link in links if "/admin/" in link and "logout" not in link})
    assert len(screens) >= 25, screens
    for screen in screens:
        answer = page.goto(screen)
        assert answer is not None
        assert answer.status == 200, screen


def test_an_invoice_explains_its_lines(page: Page, stack: dict[str, Any]) -> None:
    sign_in(page, stack)
    page.goto(f"{stack['admin_url']}invoicing/invoice/?status__exact=ISSUED")
    page.locator("#result_list tbody a[href*='/change/']").first.click()
    summary = page.locator("summary", has_text="How it was calculated").first
    summary.click()
    assert page.locator("details[open]").first.is_visible()
    assert page.locator("button", has_text="Save").count() == 0


def test_the_hosted_page_takes_the_payment(page: Page, stack: dict[str, Any]) -> None:
    with httpx.Client(
        base_url=stack["base_url"], headers={"Authorization": f"Bearer {stack['api_key']}"}, timeout=20
    ) as client:
        query = {"merchantId": stack["merchant_id"], "status": "pending_payment"}
        subscription = client.get("/v0/subscriptions", params=query).json()["data"][0]
        page.goto(subscription["payment"]["checkoutUrl"])
        button = page.get_by_role("button", name=re.compile("Pay"))
        button.click()
        page.wait_for_load_state()
        assert button.count() == 0
        paid = client.get(f"/v0/subscriptions/{subscription['id']}").json()
    assert paid["status"] == "active"
    assert paid["payment"]["status"] == "paid"


def test_the_form_of_an_entitlement_asks_for_the_terms_of_the_feature(page: Page, stack: dict[str, Any]) -> None:
    sign_in(page, stack)
    page.goto(f"{stack['admin_url']}customers/customer/?q=Kestrel")
    page.locator("#result_list tbody a[href*='/change/']").first.click()
    page.get_by_text("Issue an entitlement").click()
    page.wait_for_url("**/add/**")
    metered, static = page.locator("fieldset.mg-kind-metered"), page.locator("fieldset.mg-kind-static")
    # A script hides them when the page is there.
    expect(metered).to_be_hidden()
    expect(static).to_be_hidden()
    feature = page.locator("#id_feature")
    for kind, shown, hidden in (("metered", metered, static), ("static", static, metered)):
        feature.select_option(label=feature.locator("option", has_text=f"({kind})").first.inner_text())
        expect(shown).to_be_visible()
        expect(hidden).to_be_hidden()
    # Another customer: what it may have is offered anew, and what was chosen stays where it may have it too.
    chosen = feature.input_value()
    with page.expect_response(re.compile(r"/add/\?customer=")):
        page.evaluate("django.jQuery('#id_customer').trigger('change')")
    page.wait_for_function("document.querySelectorAll('#id_feature option').length > 1")
    assert feature.input_value() == chosen


def test_a_viewer_sees_and_cannot_act(page: Page, stack: dict[str, Any]) -> None:
    sign_in(page, stack, "viewer@northlight.test")
    page.goto(f"{stack['admin_url']}invoicing/invoice/?status__exact=ISSUED")
    page.locator("#result_list tbody a[href*='/change/']").first.click()
    assert page.get_by_text("Settle out of band").count() == 0
    page.goto(f"{stack['admin_url']}catalog/product/")
    assert page.locator("a[href*='/add/']").count() == 0


def test_the_description_of_the_api_renders_offline(page: Page, stack: dict[str, Any]) -> None:
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.goto(f"{stack['base_url']}/docs/")
    page.wait_for_selector(".opblock", timeout=15_000)
    assert [url for url in outside if not url.startswith((stack["base_url"], "data:"))] == []
