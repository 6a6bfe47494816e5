"""The panel's page in a real browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.panel.cache import CacheTiming
from apex_pipeline.panel.source_values import Timings
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.chromium import chromium
from apex_pipeline_tests.support.cost_series import weekly
from apex_pipeline_tests.support.ends import campaign_row, environment, execute, insert
from apex_pipeline_tests.support.panel_server import TOKEN, ago, deliver, served
from apex_pipeline_tests.support.rollup_reference import metric

pytestmark = pytest.mark.browser

DAYS = 45
RESTLESS = CacheTiming(fresh=0, stale=1000, first_pause=0)

# Five seconds are few on a machine that runs everything else too.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--lang=en-US") as opened:
        yield opened


@contextmanager
def looking(browser: Browser, **options) -> Iterator[Page]:
    """A page of a new viewer, which must not log errors."""
    wrong: list[str] = []
    with browser.new_context(locale="en-US", **options) as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    # A browser says there what its content security policy keeps a page from.
    assert wrong == []


@pytest.fixture
def page(browser) -> Iterator[Page]:
    with looking(browser) as opened:
        yield opened


@pytest.fixture
def history(database_url) -> None:
    """Days that are rolled up, and a forecast."""
    now = datetime.now(UTC)
    at = now.replace(hour=0, minute=1)
    insert(
        database_url,
        [
            metric(at - timedelta(days=DAYS - n), cost_usd=round(Decimal(cost), 5))
            for n, cost in enumerate(weekly(DAYS, 1))
        ],
    )
    settings = load_analysis_settings({})
    today = now.date()
    with Database(database_url, application_name="tests") as database:
        periods = Periods(DAILY, today - timedelta(days=DAYS), today)
        refresh(database, settings, periods)
        train(database, settings, now)


@pytest.fixture
def variables(emulator, database_url, tmp_path) -> dict[str, str]:
    return environment(emulator, database_url, tmp_path)


@pytest.fixture
def panel(variables) -> Iterator[str]:
    """A panel that reads again for each request."""
    with served(variables, timings=Timings(RESTLESS, RESTLESS, RESTLESS)) as url:
        yield url


def figure(page: Page, key: str):
    return page.locator(f'[data-figure="{key}"]')


def state(page: Page):
    return page.locator(".status strong")


def test_the_tiles_tell_known_rows(emulator, panel, page):
    deliver(
        emulator,
        {
            "apex_campaignid": "a",
            "apex_costusd": 3,
            "apex_agentstotal": 4,
            "apex_agentssuccessful": 3,
            "apex_latencyp95ms": 51_200,
            "apex_assetsgenerated": 12,
            "apex_tokensin": 1_234_567,
            "apex_tokensout": 890,
        },
        {
            "apex_campaignid": "a",
            "apex_costusd": 2,
            "apex_latencyp95ms": 25_600,
            "apex_createdat": ago(hours=30),
        },
    )
    page.goto(panel)
    expect(state(page)).to_have_text("Live")
    for key, words in {
        "cost_per_campaign_usd": ["$3.00", "50.0 % worse"],
        "latency_p95_worst_ms": ["Worst run", "51.2 s", "100.0 % worse"],
        "latency_p95_median_ms": ["Median of runs", "51.2 s"],
        "success_rate_pct": ["75.0 %"],
        "assets_per_run": ["12.0"],
        "tokens_in": ["1.23 M"],
        "tokens_out": ["890"],
    }.items():
        for word in words:
            expect(figure(page, key)).to_contain_text(word)


def test_a_new_row_shows_with_the_next_refresh(emulator, panel, page):
    deliver(emulator, {"apex_tokensout": 5})
    page.goto(panel)
    expect(figure(page, "tokens_out")).to_contain_text("5")
    deliver(emulator, {"apex_tokensout": 37})
    expect(figure(page, "tokens_out")).to_contain_text("42")


def test_nothing_is_asked_while_nobody_looks(emulator, panel, page):
    page.clock.install()
    page.goto(panel)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = "Object.defineProperty(document, 'hidden',"
    hide += " {{get: () => {}, configurable: true}});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide.format("true"))
    page.clock.fast_forward(600_000)
    assert [url for url in asked if url.endswith("/live")] == []
    with page.expect_response("**/live"):
        page.evaluate(hide.format("false"))


def test_a_dead_dataverse_leaves_the_figures_and_is_told_in_words(
    emulator, panel, page
):
    page.clock.install()
    deliver(emulator, {"apex_tokensout": 5})
    page.goto(panel)
    emulator.fault("status", status=403, count=10_000, path="apex_campaignmetricses")
    for _ in range(3):
        with page.expect_response("**/live"):
            page.clock.fast_forward(12_000)
    expect(state(page)).to_have_text("Error")
    expect(page.locator("#announcement")).to_contain_text("Error")
    expect(figure(page, "tokens_out")).to_contain_text("5")


def test_a_sync_that_does_not_keep_up_is_told_in_words_and_by_shape(
    emulator, database_url, panel, page
):
    deliver(emulator, {"apex_tokensout": 5})
    page.goto(panel)
    expect(state(page)).to_have_text("Live")
    expect(page.locator(".mark")).to_have_css("border-radius", "50%")
    insert(database_url, [campaign_row(created_at=ago(minutes=11))])
    expect(state(page)).to_have_text("Stale")
    expect(page.locator(".status .message")).to_contain_text("waiting for 11 min")
    expect(page.locator("#announcement")).to_contain_text("The sync is late")
    expect(page.locator(".mark")).to_have_css("border-radius", "0px")
    expect(figure(page, "tokens_out")).to_contain_text("5")


def test_a_panel_that_is_gone_is_told_and_comes_back(browser, emulator, variables):
    deliver(emulator, {"apex_tokensout": 5})
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.clock.install()
        with served(variables) as url:
            page.goto(url)
            context.set_offline(True)
            page.clock.fast_forward(12_000)
            expect(state(page)).to_have_text("Connection lost")
            expect(figure(page, "tokens_out")).to_contain_text("5")
            context.set_offline(False)
            page.clock.fast_forward(25_000)
            expect(state(page)).to_have_text("Live")


def test_tiles_with_room_show_how_the_days_before_went(history, panel, page):
    page.goto(panel)
    lines = page.locator(".tile .line")
    expect(lines).to_have_text(
        [
            re.compile("By day, 30 days"),
            re.compile("By day, 30 days"),
            re.compile("By day, 30 days"),
        ]
    )
    # At once, as a poll replaces the tiles.
    boxes = lines.locator("svg").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 3
    for box in boxes:
        assert box["width"] > box["height"] > 20


def test_the_trend_is_drawn_with_the_forecast_and_can_be_pointed_at(
    history, panel, page
):
    page.goto(f"{panel}/?days=30")
    expect(page.locator(".uplot")).to_have_count(2)
    expect(page.locator(".u-legend").first).to_contain_text("Forecast")
    page.locator(".u-over").first.hover(position={"x": 200, "y": 60})
    expect(page.locator(".u-legend").first).to_contain_text("$")
    rows = page.locator("#days-heading >> xpath=ancestor::section >> tbody tr")
    expect(rows).to_have_count(30)


def test_all_is_there_without_javascript(browser, emulator, history, panel):
    deliver(emulator, {"apex_tokensout": 5})
    with looking(browser, java_script_enabled=False) as page:
        page.goto(panel)
        expect(figure(page, "tokens_out")).to_contain_text("5")
        expect(page.locator("#chart svg")).to_be_visible()
        page.get_by_role("link", name="60 days").click()
        expect(page.get_by_role("heading", name="The last 60 days")).to_be_visible()
        rows = page.locator("#days-heading >> xpath=ancestor::section >> tbody tr")
        expect(rows).to_have_count(60)


def test_a_keyboard_is_enough(emulator, history, panel, page):
    page.goto(panel)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the trend")).to_be_focused()
    page.keyboard.press("Enter")
    for days in (30, 60):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=f"{days} days")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The last 60 days")).to_be_visible()


def test_signing_in_lets_people_through_and_signing_out_does_not(browser, variables):
    with served(variables, token=TOKEN) as url, looking(browser) as page:
        page.goto(url)
        # The field has the focus.
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator(".tiles")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize(
    ("width", "scheme"),
    [(390, "light"), (390, "dark"), (1366, "light"), (1366, "dark"), (2560, "light")],
)
def test_nothing_stands_in_the_way_of_anybody(
    browser, emulator, history, panel, width, scheme, has_script
):
    deliver(emulator, {}, {"apex_createdat": ago(hours=30)})
    size = {"width": width, "height": 900}
    with looking(browser, viewport=size, color_scheme=scheme) as page:
        if not has_script:
            # Not by the browser's own switch: axe is a script itself.
            page.route("**/static/**/*.js", lambda route: route.fulfill(body=""))
        page.goto(panel)
        if has_script:
            expect(page.locator(".uplot")).to_have_count(2)
        found = Axe().run(page).response["violations"]
        assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
        # Nothing is wider than the window, and what scrolls within it says so.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for table in page.locator(".table").all():
            if table.evaluate("each => each.scrollWidth > each.clientWidth"):
                hint = table.locator("xpath=preceding-sibling::p[1]")
                expect(hint).to_be_visible()


def test_the_picture_keeps_its_description_when_it_can_be_pointed_at(
    history, panel, page
):
    page.goto(panel)
    expect(page.locator(".uplot")).to_have_count(2)
    images = page.get_by_role(
        "img", name=re.compile("Cost by day, US dollars.*30 days")
    )
    expect(images).to_have_count(1)


def test_regions_have_names_of_their_own(emulator, history, panel, page):
    page.goto(panel)
    names = [
        region.get_attribute("aria-label")
        or page.locator(f"#{region.get_attribute('aria-labelledby')}").inner_text()
        for region in page.locator("section[aria-labelledby], [role=region]").all()
    ]
    assert len(names) == len(set(names)) > 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("What P95 latency means", "95 % of a run"),
        ("What Pending means", "not in Dataverse yet"),
        ("What In quarantine means", "Dataverse refused"),
    ],
)
def test_a_word_of_the_trade_has_a_sentence_for_whoever_points_at_it(
    emulator, panel, page, name, words
):
    page.goto(panel)
    mark = page.get_by_role("button", name=name)
    tip = page.get_by_role("tooltip").filter(has_text=words)
    expect(tip).to_be_hidden()
    mark.focus()
    expect(tip).to_be_visible()
    page.get_by_role("heading", name="Campaign metrics").click()
    expect(tip).to_be_hidden()
    mark.hover()
    expect(tip).to_be_visible()


def test_the_costliest_campaigns_have_their_change_and_their_forecast(
    database_url, history, panel, page
):
    execute(
        database_url,
        f"INSERT INTO campaign_name VALUES ('{UUID(int=1)}', 'Spring sale')",
    )
    page.goto(panel)
    row = page.locator("#campaigns-heading >> xpath=ancestor::section >> tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Spring sale")
    expect(row).to_contain_text("% more")
    expect(row).to_contain_text("80.0 %")
    expect(row.locator("td").last).to_have_text(re.compile(r"^\$[\d,]+"))


def test_on_a_phone_a_campaign_without_a_name_leaves_room_for_its_cost(
    browser, history, panel
):
    with looking(browser, viewport={"width": 390, "height": 900}) as page:
        page.goto(panel)
        row = page.locator("#campaigns-heading >> xpath=ancestor::section >> tbody tr")
        expect(row).to_contain_text(str(UUID(int=1)))
        cost = row.locator("td").first
        assert cost.evaluate("each => each.getBoundingClientRect().right") < 390


def test_what_limits_the_forecast_is_told_and_a_legend_names_what_is_drawn(
    history, panel, page
):
    """45 days are known: sums of 30 have no interval yet, and 90 have none."""
    page.goto(panel)
    expect(page.locator(".note")).to_contain_text("No interval for 30d, 90d")
    expect(page.locator(".totals")).to_contain_text("no interval: see the note")


def test_where_no_cost_is_known_that_is_what_is_told(database_url, panel, page):
    now = datetime.now(UTC)
    with Database(database_url, application_name="tests") as database:
        today = now.date()
        periods = Periods(DAILY, today - timedelta(days=40), today)
        refresh(database, load_analysis_settings({}), periods)
        train(database, load_analysis_settings({}), now)
    page.goto(panel)
    expect(page.locator("#trend")).to_contain_text("No day's cost is known yet.")
    expect(page.locator(".u-legend").first).to_contain_text("Cost")
    expect(page.locator(".u-legend").first).not_to_contain_text("Forecast")
