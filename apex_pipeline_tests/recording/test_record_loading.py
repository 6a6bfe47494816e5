"""Files of records: taken apart line by line, and written all or none."""

import gzip
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording import Loaded, record_all_campaign_metrics
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.loading import load
from apex_pipeline.recording.record_files import (
    Format,
    format_of,
    opened,
    read_lines,
    reporting,
)
from apex_pipeline.recording.record_ids import id_from_key
from apex_pipeline_tests.support.campaign_runs import metrics, sent
from apex_pipeline_tests.support.ends import execute, query

COUNT = "SELECT count(*) FROM campaign_metrics"
HEADER = ",".join(sent())
ROW = ",".join(str(value) for value in sent().values())


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


def lines(text, written=Format.CSV, dialect=Dialect.EXCEL):
    data = text if isinstance(text, bytes) else text.encode()
    return read_lines(io.BufferedReader(io.BytesIO(data)), written, dialect)


def json_lines(*records):
    return lines("".join(f"{json.dumps(r)}\n" for r in records), Format.JSON_LINES)


def told(database, read, **more):
    with pytest.raises(InvalidRecordError) as error:
        load(database, read, **more)
    return list(error.value.problems)


def test_all_lines_are_written_in_either_format_and_spelling(database, database_url):
    assert load(database, json_lines(sent(id="a"), metrics_as_json(id="b"))) == Loaded(
        2, 0, 0
    )
    assert load(database, lines(f"{HEADER},id\n{ROW},c\n")) == Loaded(1, 0, 0)
    snake = ",".join(metrics())
    assert load(database, lines(f"{snake},id\n{ROW},d\n")) == Loaded(1, 0, 0)
    found = query(database_url, "SELECT id, tokens_in, cost_usd FROM campaign_metrics")
    assert {row[0] for row in found} == {id_from_key(text) for text in "abcd"}
    assert {row[1:] for row in found} == {(1500, Decimal("0.00348"))}


def metrics_as_json(**overrides):
    values = metrics(**overrides)
    return {n: str(v) if isinstance(v, UUID) else v for n, v in values.items()}


def test_the_same_file_again_writes_nothing(database, database_url):
    records = [sent(tokensIn=n) for n in range(5)]
    assert load(database, json_lines(*records)) == Loaded(5, 0, 0)
    # One more line, and the order changed: only what is new is written.
    again = json_lines(*reversed(records), sent(tokensIn=9))
    assert load(database, again) == Loaded(1, 5, 0)
    assert query(database_url, COUNT) == [(6,)]


def test_lines_that_are_alike_in_everything_are_one_record(database, database_url):
    assert load(database, json_lines(sent(), sent(), sent(id="k"))) == Loaded(2, 1, 0)
    assert query(database_url, COUNT) == [(2,)]


def test_one_bad_line_means_that_nothing_is_written(database, database_url):
    read = json_lines(sent(), sent(tokensIn=-1, phase=""), sent(runId="r"))
    assert told(database, read) == [
        "line 2: phase is blank; tokensIn is -1; the column holds 0 to 2147483647",
        "line 3: runId is not a UUID, which the table's column requires",
        "2 lines are invalid; nothing was written.",
    ]
    assert query(database_url, COUNT) == [(0,)]


def test_of_many_bad_lines_the_first_are_told_and_the_others_counted(database):
    problems = told(database, json_lines(*[sent(tokensIn=-1)] * 1000))
    assert len(problems) == 22
    assert problems[19].startswith("line 20: tokensIn")
    assert problems[20:] == [
        "… and 980 more",
        "1000 lines are invalid; nothing was written.",
    ]


def test_bad_lines_are_left_out_where_that_is_wanted(database, database_url):
    rejected = []
    read = json_lines(sent(id="a"), sent(tokensIn=None), sent(id="b"))
    loaded = load(database, read, reject=lambda n, p: rejected.append((n, list(p))))
    assert loaded == Loaded(2, 0, 1)
    assert rejected == [(2, ["tokensIn is missing"])]
    assert query(database_url, COUNT) == [(2,)]


def test_an_id_with_other_values_is_a_conflict_also_within_the_file(
    database, database_url
):
    load(database, json_lines(sent(id="a")))
    read = [sent(id="b"), sent(id="a", tokensIn=1, costUSD=2), sent(id="b", phase="4")]
    a, b = id_from_key("a"), id_from_key("b")
    assert told(database, json_lines(*read)) == [
        f"line 2: {a} is already recorded with a different tokensIn, costUSD",
        f"line 3: {b} is already recorded with a different phase",
        "2 lines are invalid; nothing was written.",
    ]
    rejected = []
    loaded = load(
        database,
        json_lines(sent(), *read),
        reject=lambda number, _: rejected.append(number),
    )
    assert (loaded, rejected) == (Loaded(2, 0, 2), [3, 4])
    assert query(database_url, COUNT) == [(3,)]


def test_a_dry_run_tells_the_same_and_writes_nothing(database, database_url):
    load(database, json_lines(sent(id="a")))
    read = [sent(id="a"), sent(id="b"), sent(id="c")]
    assert load(database, json_lines(*read), dry_run=True) == Loaded(2, 1, 0)
    assert query(database_url, COUNT) == [(1,)]
    assert load(database, json_lines(*read)) == Loaded(2, 1, 0)


def test_two_files_at_once_with_the_same_records_write_each_once(
    database, database_url
):
    records = [sent(id=f"r{n}", tokensIn=n) for n in range(300)]
    start = threading.Barrier(2)

    def call(ordered):
        start.wait()
        return load(database, json_lines(*ordered))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(call, [records, records[::-1]]))
    assert sum(o.created for o in outcomes) == 300
    assert sum(o.repeated for o in outcomes) == 300
    assert query(database_url, COUNT) == [(300,)]


def test_an_adopted_table_takes_a_file_as_often_as_one_likes(migrated_adopted_url):
    execute(migrated_adopted_url, "DELETE FROM campaign_metrics")
    records = [
        sent(
            id="0B3C8F4E-6F0A-4A3C-9A55-00000000000A", createdAt="2026-01-01T01:00:00Z"
        ),
        sent(costUSD=0.1, successRate=33.33),
    ]
    with Database(migrated_adopted_url, application_name="tests") as database:
        assert load(database, json_lines(*records)) == Loaded(2, 0, 0)
        if query(
            migrated_adopted_url, "SELECT pg_typeof(id)::text FROM campaign_metrics"
        )[0] == ("text",):
            execute(migrated_adopted_url, "UPDATE campaign_metrics SET id = upper(id)")
        assert load(database, json_lines(*records)) == Loaded(0, 2, 0)
        execute(
            migrated_adopted_url,
            "ALTER TABLE campaign_metrics DROP CONSTRAINT campaign_metrics_pkey",
        )
        twice = json_lines(*records, sent(), sent())
        assert load(database, twice) == Loaded(1, 3, 0)


def test_a_refusal_by_the_table_is_told(database, database_url):
    execute(
        database_url,
        "ALTER TABLE campaign_metrics ADD CONSTRAINT theirs CHECK (tokens_in < 1000)",
    )
    (problem,) = told(database, json_lines(sent(tokensIn=1), sent(tokensIn=1000)))
    assert 'violates check constraint "theirs"' in problem
    assert query(database_url, COUNT) == [(0,)]


def test_many_records_from_python_are_told_by_their_place(database_url):
    good = (metrics(tokens_in=n) for n in range(50))
    assert record_all_campaign_metrics(good, database_url=database_url).created == 50
    with pytest.raises(InvalidRecordError, match="line 2: tokens_in is -1"):
        record_all_campaign_metrics(
            [metrics(), metrics(tokens_in=-1)], database_url=database_url
        )


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\n{ROW}",
        f"{HEADER}\n\n{ROW}\n\n",
        ",".join(f'"{name}"' for name in HEADER.split(",")) + f"\n{ROW}\n",
        f"{HEADER},successRate,createdAt,id\n{ROW},,,\n",
        f"sep=,\r\n{HEADER}\r\n{ROW}\r\n",
        f'\ufeff"sep=,"\n{HEADER}\n{ROW}',
        f"{HEADER}\r\n{ROW}\r\n".encode("utf-16"),
        f"\ufeff{HEADER}\n{ROW}".encode("utf-16-be"),
        f"{HEADER.replace('runId', 'run_id').replace('phase', ' phase ')}\n{ROW}",
    ],
)
def test_csv_is_read_as_programs_write_it(database, text):
    assert load(database, lines(text)) == Loaded(1, 0, 0)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("heading", ["", "sep={}\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_spreadsheet_with_decimal_commas_is_read_when_it_is_said_to_be_one(
    database, database_url, separator, heading, encoding
):
    table = f"{HEADER}\n{ROW}"
    text = heading.format(separator) + table.replace(",", separator)
    cost = ROW.split(",")[HEADER.split(",").index("costUSD")]
    text = text.replace(cost, cost.replace(".", ","))
    data = text.encode(encoding)
    assert load(database, lines(data, dialect=Dialect.EXCEL_EU)).created == 1
    assert query(database_url, "SELECT cost_usd FROM campaign_metrics") == [
        (Decimal(cost),)
    ]
    problems = "\n".join(told(database, lines(data)))
    names = {";": "semicolons", "\t": "tabs"}
    assert f"the cells must be separated by commas, not {names[separator]}" in problems
    assert '"CSV UTF-8 (Comma delimited)"' in problems
    assert "--dialect excel-eu" in problems


def test_what_is_no_number_with_a_comma_is_told_and_text_with_one_stays(
    database, database_url
):
    table = f"{HEADER}\n{ROW}\n{ROW}".replace(",", ";").replace("2-3", "2,3")
    cost = ROW.split(",")[HEADER.split(",").index("costUSD")]
    points = lines(table.replace(cost, "1.234"), dialect=Dialect.EXCEL_EU)
    assert told(database, points)[0] == "line 2: costUSD is text; it must be a number"
    commas = lines(table.replace(cost, "1,5"), dialect=Dialect.EXCEL_EU)
    assert load(database, commas).created == 1
    assert query(database_url, "SELECT phase, cost_usd FROM campaign_metrics") == [
        ("2,3", Decimal("1.50000"))
    ]
    problems = told(database, lines(f"{HEADER}\n{ROW}", dialect=Dialect.EXCEL_EU))
    assert "Remove --dialect" in problems[0]


def test_lines_are_counted_from_the_top_of_the_file_with_a_separator_line(database):
    rows = [ROW, ROW.replace("1500", "many")]
    text = "\n".join(["sep=,", HEADER, *rows])
    assert told(database, lines(text))[0].startswith("line 4: tokensIn is text")
    with pytest.raises(InvalidRecordError, match="line 2 must be the header"):
        load(database, lines("sep=,\na,b"))


def test_json_lines_in_utf_16_are_read(database):
    text = f"{json.dumps(sent())}\r\n"
    assert load(database, lines(text.encode("utf-16"), Format.JSON_LINES)).created == 1


def test_a_cell_with_line_ends_does_not_upset_the_count(database):
    quoted = ROW.replace("2-3", '"2\n\r\n3"')
    rows = [quoted, quoted.replace("1500", "many"), f"{ROW},7", ROW[:-6]]
    assert told(database, lines("\n".join([HEADER, *rows]))) == [
        "line 5: tokensIn is text; it must be a number",
        "line 8: has 12 cells; the header has 11",
        "line 9: has 10 cells; the header has 11",
        "3 lines are invalid; nothing was written.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("\n", "the file is empty"),
        (ROW, "campaignId is missing"),
        (HEADER.replace("tokensIn", "tokens"), "tokensIn is missing; 'tokens' is not"),
        (f"{HEADER},phase\n", "phase appears twice"),
        (HEADER.replace(",", ";"), "the cells must be separated by commas"),
        (f"{HEADER}\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (f"{HEADER}\r\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (f"{HEADER}\r\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        (f"sep=,\r\n{HEADER}\r\n".encode("utf-16-le"), "UTF-16 without a byte order"),
        (HEADER.replace(",", ";").encode("utf-16-le"), "UTF-16 without a byte order"),
        (f"{HEADER}\n{ROW}".encode("utf-16")[:-1], "no longer valid UTF-16"),
        (f"{HEADER}\n{'x' * 1_000_001}".encode("utf-16"), "line 2 is longer"),
        (f"{HEADER},run_id\n{ROW},x", "runId appears twice"),
        ("sep=|\na|b", "separated by commas, not '|'"),
        (f'{HEADER}\n{ROW}\n"', "line 3: invalid CSV"),
        (f'{HEADER}\n{ROW}\n"a"b,', "line 3: invalid CSV"),
        (f"{HEADER}\n{'x' * 1_000_001}", "line 2 is longer than 1000000 bytes"),
    ],
)
def test_what_is_no_csv_of_records_is_told_at_once(
    database, database_url, text, problem
):
    problems = "\n".join(told(database, lines(text), reject=lambda *_: None))
    assert problem in problems
    assert "othing was written" in problems
    assert query(database_url, COUNT) == [(0,)]


def test_bytes_that_are_not_utf_8_are_told_by_line(database):
    text = f"{HEADER}\n{ROW}\n{ROW.replace('2-3', 'phäse')}\n"
    assert told(database, lines(text.encode("latin-1")))[0] == (
        "line 3: phase contains characters that are not valid Unicode"
    )
    text = json.dumps(sent(phase="phäse"), ensure_ascii=False)
    read = lines(text.encode("latin-1"), Format.JSON_LINES)
    assert told(database, read)[0].startswith("line 1: phase contains characters")


def test_lines_that_are_not_json_are_told_by_number(database):
    text = f"{json.dumps(sent())}\n\n{{'a'}}\n[]\n"
    problems = told(database, lines(text, Format.JSON_LINES))
    assert problems[0].startswith("line 3: this is not JSON: Expecting property name")
    assert problems[1] == "line 4: this is not a JSON object"


@pytest.mark.parametrize("text", ["'; DROP TABLE x--", "a\tb\\N\n\\.", "%s {0} $1"])
def test_text_is_data(database, database_url, text):
    execute(database_url, "DROP VIEW campaign_metrics_pending CASCADE")
    execute(database_url, "DROP VIEW v_campaign_metrics_pending CASCADE")
    execute(database_url, "ALTER TABLE campaign_metrics ALTER run_id TYPE text")
    assert load(database, json_lines(sent(runId=text, id="k"))).created == 1
    assert load(database, json_lines(sent(runId=text, id="k"))).repeated == 1
    assert query(database_url, "SELECT run_id FROM campaign_metrics") == [(text,)]


def test_a_compressed_file_is_read_and_a_damaged_one_told(database, database_url):
    whole = gzip.compress(f"{HEADER}\n{ROW}\n".encode())
    heard: list[int] = []
    with opened(io.BytesIO(whole), compressed=True, tell=heard.append) as stream:
        assert load(database, read_lines(stream, Format.CSV)).created == 1
    assert heard[-1] == len(whole)
    for damaged in (whole[:-10], b"no gzip", whole[:20] + b"\xff" * 30):
        with (
            pytest.raises(InvalidRecordError, match="compressed file is damaged"),
            opened(io.BytesIO(damaged), compressed=True, tell=heard.append) as stream,
        ):
            load(database, read_lines(stream, Format.CSV))
    assert query(database_url, COUNT) == [(1,)]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.jsonl", Format.JSON_LINES),
        ("b.c/a.NDJSON.gz", Format.JSON_LINES),
        ("a.csv", Format.CSV),
        ("a.csv.gz", Format.CSV),
        ("a.json", None),
        ("-", None),
        (".gz", None),
    ],
)
def test_a_name_tells_the_format(name, written):
    assert format_of(name) is written


@pytest.mark.parametrize("replaces", [True, False])
def test_a_report_touches_no_file_but_its_own(tmp_path, replaces):
    report = tmp_path / "rows.rejects.jsonl"
    other = tmp_path / "rows.rejects.jsonl.partial"
    other.write_text("somebody's")
    with reporting(report, replaces=replaces) as reject:
        assert reject is not None
        reject(1, ["is wrong"])
        assert not report.exists()
    assert json.loads(report.read_text())["line"] == 1
    assert other.read_text() == "somebody's"
    assert sorted(tmp_path.iterdir()) == [report, other]


def test_a_report_that_must_be_new_replaces_nothing_that_came_meanwhile(tmp_path):
    report = tmp_path / "rows.rejects.jsonl"
    with pytest.raises(FileExistsError), reporting(report, replaces=False) as reject:  # noqa: PT012  it ends with the block
        assert reject is not None
        reject(1, ["is wrong"])
        report.write_text("somebody's")
    assert report.read_text() == "somebody's"
    assert list(tmp_path.iterdir()) == [report]
