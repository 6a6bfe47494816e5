"""Pictures as a real browser draws them: they decode, and their text fits."""

from base64 import b64encode
from collections.abc import Iterator
from datetime import date

import pytest
from playwright.sync_api import Page

from apex_pipeline.analytics.charts import (
    EMBEDDED,
    Band,
    ChartPanel,
    Curve,
    picture,
    sparkline,
)
from apex_pipeline_tests.support.chromium import chromium

pytestmark = pytest.mark.browser

FIRST = date(2026, 8, 27)

# Boxes of all text, and of the picture, in pixels of the page.
_BOXES = """
() => [document.querySelector('svg'), ...document.querySelectorAll('svg text')].map(
    one => { const box = one.getBoundingClientRect();
             return [one.textContent, box.left, box.top, box.right, box.bottom]; })
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 900, "height": 700})


def chart(top, days):
    """A panel with everything on it, for values up to *top*."""
    line = [top * (0.4 + 0.6 * (n % 7) / 6) for n in range(days)]
    ahead = [None] * (days // 2) + line[days // 2 :]
    return ChartPanel(
        "Cost by day",
        "US dollars",
        FIRST,
        [
            Curve("prompt tokens", line),
            Curve("completion tokens", ahead, 1, dashed=True),
        ],
        [Band("80 % interval", ahead, [v and v * 1.1 for v in ahead], 1)],
        divider=days - 1,
        divider_name="not over",
    )


@pytest.mark.parametrize("days", [1, 8, 40, 180, 1000, 4000])
@pytest.mark.parametrize("top", [0.0, 0.0023, 87.5, 123_456.0, 9.87e14, -5e7])
def test_text_is_inside_the_picture_and_does_not_overlap(page, top, days):
    page.set_content(picture("Cost", "d", [chart(top, days), chart(1.0, days)]))
    (_, left, upper, right, lower), *texts = page.evaluate(_BOXES)
    assert len(texts) > 10
    for text, x1, y1, x2, y2 in texts:
        assert left <= x1 < x2 <= right, text
        assert upper <= y1 < y2 <= lower, text
    for number, (one, x1, y1, x2, y2) in enumerate(texts):
        for other, u1, v1, u2, v2 in texts[number + 1 :]:
            # A line's box is higher than its letters by some pixels.
            apart = x2 <= u1 or u2 <= x1 or y2 <= v1 + 4 or v2 <= y1 + 4
            assert apart, f"{one} is on {other}"


@pytest.mark.parametrize(
    "svg",
    [
        picture("Cost", "d", [chart(100.0, 90)]),
        sparkline("Cost by day", [3.0, None, 9.0, 1.0], [0.0, 1.0], [4.0, 5.0]),
        sparkline("Cost by day", []),
    ],
    ids=["picture", "sparkline", "empty sparkline"],
)
def test_an_image_decodes_and_has_a_size(page, svg):
    data = b64encode(svg.encode()).decode()
    page.set_content(f'<img src="data:image/svg+xml;base64,{data}">')
    size = page.evaluate(
        "async () => { const i = document.images[0]; await i.decode();"
        " return [i.naturalWidth, i.naturalHeight]; }"
    )
    assert min(size) > 0


def test_within_a_page_the_colours_are_those_of_the_page(page):
    """Also where the page's content security policy allows no style of ours."""
    policy = "default-src 'none'; style-src 'sha256-x'"
    svg = picture("Cost", "d", [chart(100.0, 90)], EMBEDDED)
    page.set_content(
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<body text="#ff8800">{svg}'
    )
    colours = (
        "() => [getComputedStyle(document.querySelector('svg text')).fill,"
        " getComputedStyle(document.querySelector('path[fill=none]')).stroke]"
    )
    assert page.evaluate(colours) == ["rgb(255, 136, 0)", "rgb(29, 78, 216)"]
    page.evaluate(
        "() => document.documentElement.style.setProperty('--chart-1', '#00aa00')"
    )
    assert page.evaluate(colours)[1] == "rgb(0, 170, 0)"
