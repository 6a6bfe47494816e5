"""The pictures in the documentation are drawn from the report as it is."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from apex_pipeline.powerbi.pages import PAGES
from apex_pipeline_tests.powerbi.previews import FOLDER, file_name, previews

PAGE = (Path(__file__).parents[2] / "docs" / "power-bi.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_shows_each_page(page):
    assert f"]({file_name(page)})" in PAGE
    texts = set(ET.parse(FOLDER / file_name(page)).getroot().itertext())  # noqa: S314  our own file
    assert {visual.title for visual in page.visuals} <= texts


@pytest.mark.slow
def test_the_pictures_are_those_that_are_drawn_now():
    for name, svg in previews().items():
        assert (FOLDER / name).read_text() == svg
