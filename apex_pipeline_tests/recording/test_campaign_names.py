"""Names that people give to campaigns, from a file to what analysts read."""

import gzip

import pytest
from click.testing import CliRunner

from apex_pipeline.cli.record import record
from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.recording.campaign_names import read_names
from apex_pipeline_tests.support.ends import query

FIRST = "00000000-0000-0000-0000-00000000000a"
NAMES = "SELECT campaign_id, name FROM campaign_name ORDER BY 1"


@pytest.fixture
def give(database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", database_url)

    def give(text):
        path = tmp_path / "names.csv"
        path.write_text(text, encoding="utf-8")
        ended = CliRunner().invoke(record, ["campaigns", str(path)])
        assert ended.exception is None, ended.output
        return ended.output

    return give


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("names.csv.gz", lambda text: gzip.compress(text.encode())),
        ("names.txt", lambda text: text.encode("utf-16")),
    ],
)
def test_a_file_of_names_may_be_gzipped_or_utf_16(
    database_url, monkeypatch, tmp_path, name, encoded
):
    monkeypatch.setenv("DATABASE_URL", database_url)
    path = tmp_path / name
    path.write_bytes(encoded("campaign_id,name\r\nlaunch,Größe\r\n"))
    ended = CliRunner().invoke(record, ["campaigns", str(path)])
    assert ended.exception is None, ended.output
    assert query(database_url, NAMES) == [("launch", "Größe")]


def test_bytes_that_are_no_text_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "names.csv"
    path.write_bytes(bytes(range(256)) * 40)
    ended = CliRunner().invoke(record, ["campaigns", str(path)])
    assert isinstance(ended.exception, InvalidRecordError)


def test_names_are_kept_and_replaced_and_others_stay(give, database_url):
    text = f"campaign_id,name\r\n{FIRST.upper()},Spring sale\r\nlaunch,Größe\r\n"
    assert give(text) == "2 campaigns read; 2 names are new or changed.\n"
    assert query(database_url, NAMES) == [(FIRST, "Spring sale"), ("launch", "Größe")]
    assert give(f"\ufeffname,campaign_id\nSummer sale,{FIRST}\n").startswith("1 camp")
    assert query(database_url, NAMES) == [(FIRST, "Summer sale"), ("launch", "Größe")]
    assert "0 names" in give(f"campaign_id,name\n{FIRST},Summer sale\n")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["id,name", "a,b"], "header with campaign_id and name"),
        ([], "header with campaign_id and name"),
        (
            ["campaign_id,name", "U,Rabatt 1,5 %"],
            "Line 2 has 3 cells; the header has 2",
        ),
        (["campaign_id,name", "a"], "Line 2 has 1 cells; the header has 2"),
        (["campaign_id,name,name", "a,b,c"], "name appears twice"),
        (["campaign_id,name,name,note", "a,b,c,d"], "name appears twice"),
        (
            ["campaign_id,name", "a,b\x1bc"],
            r"Line 2: remove the control character U\+001B",
        ),
        (
            ["campaign_id,name", "a,b\0c"],
            r"Line 2: remove the control character U\+0000",
        ),
        (
            ["campaign_id,name", "a\x85b,c"],
            r"Line 2: remove the control character U\+0085",
        ),
        (
            ["campaign_id,name", 'a,"b\n', 'c"'],
            r"Line 2: remove the control character U\+000A",
        ),
        (["campaign_id,name", 'a,"b'], "line 2: invalid CSV: unexpected end"),
        (["campaign_id,name", "a,", ",b"], r"Line 2 lacks [^\n]*\nLine 3 lacks"),
        (["campaign_id,name", "a,b", "a,c"], "Line 3 names a again"),
        (["campaign_id,name", "a,Gr\udcf6\udcdfe"], "Line 2 is not UTF-8 text"),
        (
            ["campaign_id,name", f"a,{'x' * 200_000}"],
            "line 2: invalid CSV: field larger",
        ),
        (
            ["campaign_id,name", f"{FIRST},b", f"{FIRST.upper()},c"],
            f"names {FIRST} again",
        ),
    ],
)
def test_a_file_that_is_wrong_says_where(lines, words):
    with pytest.raises(InvalidRecordError, match=words):
        read_names(lines)


@pytest.mark.parametrize(
    "name",
    [
        "Spring\N{NO-BREAK SPACE}Sale",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
        "\N{RIGHT-TO-LEFT MARK}מבצע",
        "Früh\N{SOFT HYPHEN}ling",
    ],
)
def test_a_name_may_hold_what_people_write(give, database_url, name):
    assert give(f"campaign_id,name\nspring,{name}\n").startswith("1 campaigns read")
    assert query(database_url, NAMES) == [("spring", name)]


@pytest.mark.parametrize(
    "lines",
    [
        ["campaign_id;name\r\n", "a;Rabatt 1,5 %\r\n"],
        ["campaign_id\tname\n", "a\tRabatt 1,5 %\n"],
        ["sep=;\n", "campaign_id;name\n", "a;Rabatt 1,5 %\n"],
        ["sep=,\n", " campaign_id , name\n", 'a,"Rabatt 1,5 %"\n'],
        ["campaign_id,note,name\n", "\n", 'a,,"Rabatt 1,5 %"\n'],
        ['campaign_id,name,"Who; team; x"\n', 'a,"Rabatt 1,5 %",b\n'],
        ['campaign_id;name;"Cost, ""net"", x"\n', "a;Rabatt 1,5 %;1\n"],
    ],
)
def test_a_file_is_read_as_spreadsheets_write_it(lines):
    assert read_names(iter(lines)) == {"a": "Rabatt 1,5 %"}


def test_a_line_is_numbered_as_an_editor_numbers_it():
    lines = ["sep=,\n", "campaign_id,name\n", "\n", "a,b\n", "c\n"]
    with pytest.raises(InvalidRecordError, match="Line 5 has 1 cells"):
        read_names(lines)
