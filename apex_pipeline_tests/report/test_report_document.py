"""A report as Markdown and as HTML, whatever its texts contain."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, strategies as st

from apex_pipeline.report.document import (
    Lines,
    LineState,
    Note,
    Picture,
    Report,
    ReportLine,
    ReportTable,
    Section,
    SignOff,
    counts_in_words,
    mapped,
    presentable,
)
from apex_pipeline.report.markdown import to_markdown, to_short_markdown
from apex_pipeline.report.measured_lines import percentile
from apex_pipeline.report.page import to_html
from apex_pipeline_tests.support.report_reading import (
    HOSTILE,
    Seen,
    as_github_shows,
    cells,
)

PNG = b"\x89PNG\r\n\x1a\n"


def report(*blocks):
    section = Section("chapter", "A chapter", blocks)
    at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return Report("Completion report", at, "about something", (section,))


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_told_and_do_nothing(value):
    table = ReportTable(("name", "value"), ((value, value),))
    line = ReportLine(value, LineState.MET, value, value, value)
    made = report(table, Lines((line,), value), Note(value))
    plain = value.replace("`", "")
    markdown = as_github_shows(to_markdown(made, lambda _: None))
    html = to_html(made)
    assert cells(markdown)[:4] == cells(html)[:4] == ["name", "value", plain, plain]
    benign = to_html(
        mapped(made, lambda text: "text" if text == value else text),
    )
    for tag in ("script", "img", "a", "b", "strong", "em", "s", "h1"):
        assert Seen(html).tags.count(tag) == Seen(benign).tags.count(tag), tag
    for tag in ("script", "img", "a", "em", "s"):
        assert tag not in Seen(markdown).tags


@given(st.lists(st.text(), min_size=1, max_size=4))
@example(["__0__"])
def test_any_text_fills_the_cell_that_it_is_in(values):
    row = tuple(presentable(value) for value in values)
    table = ReportTable(tuple("x" * len(row)), (row,))
    expected = [cell.replace("`", "").strip() for cell in row]
    for text in (
        as_github_shows(to_markdown(report(table), lambda _: None)),
        to_html(report(table)),
    ):
        found = [cell.strip() for cell in cells(text)]
        assert found[len(row) :] == expected


def test_control_characters_and_turned_text_are_spelled_out():
    assert presentable("a\x1b[31m\nb\u202ec\x00") == "a\\u001b[31m b\\u202ec\\u0000"


def test_what_is_not_met_comes_first_and_once():
    made = Report(
        "t",
        datetime(2026, 11, 25, tzinfo=UTC),
        "s",
        (
            Section("a", "A", (Lines((ReportLine("late", LineState.WARNING, "x"),)),)),
            Section(
                "b",
                "B",
                (
                    Note("n"),
                    Lines(
                        (
                            ReportLine("lost", LineState.NOT_MET, "y"),
                            ReportLine("late", LineState.WARNING, "x"),
                            ReportLine("well", LineState.MET, "z"),
                            ReportLine("dark", LineState.NOT_MEASURED, "why"),
                        )
                    ),
                ),
            ),
        ),
    )
    assert [(section.key, line.name) for section, line in made.needing_attention()] == [
        ("b", "lost"),
        ("a", "late"),
    ]
    assert counts_in_words(made) == "1 met, 1 warning, 1 not met, 1 not measured"
    for text in (to_html(made), to_markdown(made, lambda _: None)):
        assert "why" in text
        assert text.index("Needs attention") < text.index("lost") < text.index("well")


def test_pictures_are_in_the_html_and_beside_the_markdown():
    made = report(Picture("A page", PNG))
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in to_html(made)
    assert "![A page](page.png)" in to_markdown(made, lambda _: "page.png")
    assert "left out" in to_markdown(made, lambda _: None)


def test_lines_to_be_signed_are_blank():
    made = report(SignOff(("Accepted by",)))
    assert "| Accepted by |  |  |  |" in to_markdown(made, lambda _: None)
    assert to_html(made).count("<dd></dd>") == 3


@pytest.mark.parametrize("most", [300, 700, 100_000])
def test_the_short_report_is_whole_chapters_and_says_what_is_left_out(most):
    sections = tuple(
        Section(f"k{n}", f"Chapter {n}", (Note("word " * 40),)) for n in range(4)
    )
    at = datetime(2026, 11, 25, tzinfo=UTC)
    text = to_short_markdown(Report("t", at, "s", sections), most)
    assert len(text) <= most
    told = text.count("## ")
    assert text.count("word ") == 40 * told
    assert (told == 4) is ("other chapters" not in text)


@given(
    st.lists(st.floats(0, 1e6), min_size=1),
    st.floats(0.01, 100),
)
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    needed = len(values) * percent / 100
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed + 1e-9
