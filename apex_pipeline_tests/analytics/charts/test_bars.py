"""Bars as SVG: well-formed, in proportion, and safe with any name."""

from xml.etree import ElementTree as ET

from apex_pipeline.analytics.charts import Bar, bars

SVG = "{http://www.w3.org/2000/svg}"


def widths(svg):
    root = ET.fromstring(svg)  # noqa: S314  our own picture
    _, *found = root.iter(f"{SVG}rect")
    return [float(each.get("width", "")) for each in found]


def test_lengths_are_in_proportion():
    first, second = widths(bars("t", "d", [Bar("a", 100), Bar("b", 25)]))
    assert first == 4 * second


def test_names_are_escaped_and_nothing_is_drawn_of_nothing():
    svg = bars("t", "d", [Bar('<b> & "c"', 0)])
    assert "<b>" not in svg
    assert widths(svg) == [1.0]
    assert widths(bars("t", "d", [])) == []
