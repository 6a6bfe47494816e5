"""The generated reference pages are those that the code makes now."""

import pytest

from apex_pipeline_tests.support.reference_pages import FOLDER, pages

PAGES = pages()


def test_every_generated_page_is_committed_and_no_other():
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_code_makes(name):
    """`python -m apex_pipeline_tests.support.reference_pages` writes them again."""
    assert (FOLDER / name).read_text() == PAGES[name]
