"""Pictures: what they hold, whatever the figures; that they fit is seen in a browser."""

import re
from base64 import b64encode
from datetime import date, timedelta
from itertools import cycle, islice
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.charts import (
    EMBEDDED,
    STANDALONE,
    Band,
    ChartPanel,
    Curve,
    picture,
    sparkline,
)
from apex_pipeline.analytics.charts.scales import day_ticks, finite, value_ticks

FIRST = date(2026, 8, 27)
# What is around a sparkline in Markdown has room beside it.
MAX_BYTES = 680
SVG = "{http://www.w3.org/2000/svg}"

values = st.lists(
    st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=80
)
words = st.text(max_size=30)


def panel(*lines, **others):
    return ChartPanel("Cost by day", "US dollars", FIRST, lines, **others)


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314  we made it


def texts(svg):
    root = parsed(svg)
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_a_picture_says_what_it_is_in_words_too():
    root = parsed(
        picture("Cost", "Rose from 1 to 2.", [panel(Curve("cost", [1, 2]))], key="c")
    )
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert (title.text, description.text) == ("Cost", "Rose from 1 to 2.")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


def test_a_panel_has_a_title_a_unit_and_both_axes():
    found = texts(picture("t", "d", [panel(Curve("cost", [0.0, 310.0] * 45))]))
    assert found == [
        "Cost by day US dollars",
        *("0", "100", "200", "300", "400"),
        *("Sep 2026", "Oct", "Nov"),
    ]


def test_lines_and_bands_are_named_as_soon_as_there_are_two():
    lines = Curve("prompt", [1, 2]), Curve("completion", [2, 1])
    band = Band("80 %", [0, 1], [3, 4])
    alone = texts(picture("t", "d", [panel(lines[0])]))
    assert "prompt" not in alone
    named = texts(picture("t", "d", [panel(*lines, bands=[band])]))
    assert {"prompt", "completion", "80 %"} <= set(named)


def test_what_is_not_known_is_a_gap_and_one_day_between_gaps_a_dot():
    svg = picture("t", "d", [panel(Curve("cost", [1, 2, None, 4, None, 6, 7, 8]))])
    (path,) = re.findall(r'd="([^"]+)" fill="none"', svg)
    assert path.count("M") == 3
    assert path.count("L") == 3
    assert path.count("h0") == 1


def test_a_band_ends_where_one_of_its_ends_is_not_known():
    band = Band("80 %", [0, 1, None, 3, 4], [3, 4, 5, None, 7])
    svg = picture("t", "d", [panel(Curve("cost", [1] * 5), bands=[band])])
    (outline,) = re.findall(r'<path d="([^"]+)" fill="[^"]+" fill-opacity="0.18"', svg)
    assert outline.count("z") == 2


def test_the_colours_are_the_themes():
    chart = [panel(Curve("cost", [1, 2]))]
    alone, within = (
        picture("t", "d", chart, theme) for theme in (STANDALONE, EMBEDDED)
    )
    assert 'fill="#ffffff"' in alone
    assert "<rect" not in within
    assert "var(--chart-1, " in within
    assert not re.search(r"<style|style=|<script|href", alone + within)


def test_the_same_figures_are_the_same_bytes():
    chart = [panel(Curve("cost", [1.25, None, 7]), divider=1, divider_name="now")]
    assert picture("t", "d", chart) == picture("t", "d", chart)


@given(values, values, words, words)
def test_whatever_is_drawn_it_is_well_formed_and_inside(line, ends, title, description):
    band = Band(title, ends, [None if e is None else e + 1 for e in ends])
    chart = panel(Curve(description, line), Curve("b", []), bands=[band])
    for highest in (None, 100.0):
        one = ChartPanel(
            title, description, FIRST, chart.lines, chart.bands, highest=highest
        )
        svg = picture(title, description, [one], key='"<&')
        parsed(svg)
        assert "nan" not in "".join(re.findall(r' (?:d|x|y)="([^"]*)"', svg))
        for x, y in re.findall(r"[ML](-?[\d.e+]+) (-?[\d.e+]+)", svg):
            assert -1 <= float(x) <= 721
            assert -1 <= float(y) <= 191


@given(st.lists(st.floats(-1e90, 1e90), max_size=9), st.none() | st.just(100.0))
def test_ticks_hold_all_values_and_are_few_and_even(numbers, highest):
    numbers = [finite(number) for number in numbers]
    ticks = value_ticks(numbers, highest)
    places = [value for value, _ in ticks]
    assert 2 <= len(ticks) <= 8
    reach = 1e-6 * max(map(abs, places))
    assert places[0] - reach <= min(numbers, default=places[0])
    assert places[-1] + reach >= max(numbers, default=0)
    assert len({label for _, label in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("numbers", "highest", "labels"),
    [
        ([], None, ["0", "0.25", "0.5", "0.75", "1"]),
        ([0.0], None, ["0", "0.25", "0.5", "0.75", "1"]),
        ([2_600_000], None, ["0", "1M", "2M", "3M"]),
        ([900.0, 1200.0], None, ["0", "0.5k", "1k", "1.5k"]),
        ([-3.0, 9.0], None, ["-5", "0", "5", "10"]),
        ([97.1, 94.2], 100.0, ["94", "96", "98", "100"]),
        ([100.0], 100.0, ["99", "99.25", "99.5", "99.75", "100"]),
    ],
)
def test_ticks_are_round(numbers, highest, labels):
    assert [label for _, label in value_ticks(numbers, highest)] == labels


@pytest.mark.parametrize("days", [0, 1, 7, 11, 30, 69, 71, 180, 365, 1000, 3650])
def test_some_days_are_labelled_whatever_the_length_of_time(days):
    found = list(day_ticks(FIRST, FIRST + timedelta(days=days)))
    assert 1 <= len(found) <= 60
    assert all(FIRST <= day <= FIRST + timedelta(days=days) for day, _ in found)


@given(words, values, st.lists(st.floats(), max_size=40))
def test_a_sparkline_is_small_enough_to_be_shown_in_place(title, line, low):
    svg = sparkline(title, line, low, [value * 2 for value in low])
    parsed(svg)
    assert len(svg.encode()) <= MAX_BYTES


@pytest.mark.parametrize("letter", ["x", "&", "\N{EURO SIGN}"])
@pytest.mark.parametrize(
    "pattern", [[0, 1e6], [0, None, 1e6, None], [1e6, 0, None], [1e6, 1e6]]
)
def test_no_sparkline_is_a_thousand_characters_of_markdown(pattern, letter):
    """Lines that go up and down all the way need most, before and after thinning."""
    for length in range(1, 130):
        line = list(islice(cycle(pattern), length))
        ends = list(islice(cycle([0.0, 1e6]), length))
        svg = sparkline(letter * 99, line, ends, [1e6 - end for end in ends])
        assert len(svg.encode()) <= MAX_BYTES
        data = b64encode(svg.encode()).decode()
        assert len(f"![Cost](data:image/svg+xml;base64,{data})") < 1000, length


def test_a_sparkline_of_nothing_and_of_one_value():
    for line in ([], [None], [3.0], [0.0, 0.0]):
        parsed(sparkline("t", line))
    assert "M0 32h0" in sparkline("t", [3.0])


@pytest.mark.parametrize("points", [1, 2, 5, 13, 21, 39, 40, 41, 90])
def test_a_sparkline_is_as_wide_for_few_points_as_for_many(points):
    svg = sparkline("t", [float(n % 2) for n in range(points)])
    (width,) = re.findall(r'viewBox="0 0 (\d+) 34"', svg)
    assert 90 <= int(width) <= 120
