"""What may be recorded, and what is said of what may not."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from apex_pipeline.column_types import InvalidValueError
from apex_pipeline.errors import InvalidRecordError, MalformedRecordError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.recording.fields import (
    AGENTS,
    OPTIONS,
    POSTGRES,
    make_field,
    spelling_of,
)
from apex_pipeline.recording.parsing import parse_cells, parse_json
from apex_pipeline.recording.record_ids import (
    id_from_client,
    id_from_content,
    id_from_key,
)
from apex_pipeline.recording.record_reading import Rules, read_record, success_rate
from apex_pipeline_tests.support.campaign_runs import metrics, sent

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RULES = Rules({}, NOW)


def read(raw, spelling=AGENTS, **more):
    return read_record(raw, spelling, RULES, **more).values


def problems(raw, spelling=AGENTS, **more):
    with pytest.raises(InvalidRecordError) as error:
        read_record(raw, spelling, RULES, **more)
    return list(error.value.problems)


def test_everything_that_is_missing_is_named_in_the_callers_spelling():
    assert problems({}) == [
        f"{c.agents} is missing"
        for c in COLUMNS
        if c.agents not in {"successRate", "createdAt"}
    ]
    assert problems({"--phase": "2-3"}, OPTIONS)[0] == "--campaign-id is missing"
    assert problems({"phase": "2-3"}, POSTGRES)[-1] == "latency_avg_ms is missing"


def test_null_is_as_good_as_absent():
    assert problems(sent(tokensIn=None)) == ["tokensIn is missing"]
    assert "created_at" not in read(sent(successRate=None, createdAt=None, id=None))


def test_a_name_that_is_no_field_is_told_with_the_one_that_is_meant():
    assert problems(sent(tokenIn=1)) == [
        "'tokenIn' is not a field; did you mean tokensIn?"
    ]
    assert problems(sent(exported_at=None)) == ["'exported_at' is not a field"]
    many = problems(sent(**{f"{n}{'x' * 1000}": 1 for n in range(5000)}))
    assert len(many) == 11
    assert many[-1] == "4990 more names are not fields"
    assert max(map(len, many)) < 100


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, "is true or false; it must be a number"),
        ("5", "is text; it must be a number"),
        ([5], "is a list; it must be a number"),
        ({"a": 5}, "is an object; it must be a number"),
        (1.5, "is 1.5; the column holds whole numbers"),
        (-1, "is -1; the column holds 0 to 2147483647"),
        (2**31, "is 2147483648; the column holds 0 to 2147483647"),
        (10**999, "is 1.000e+999; the column holds 0 to 2147483647"),
        (Decimal("1e999999999"), "is 1.000e+999999999; the column holds 0 to"),
        (float("inf"), "is Infinity; the column holds finite numbers"),
    ],
)
def test_a_count_is_a_whole_number_that_fits(value, told):
    (problem,) = problems(sent(tokensIn=value))
    assert problem.startswith(f"tokensIn {told}")


@pytest.mark.parametrize("value", [0, 2**31 - 1, 5.0, Decimal("1e3"), -0.0])
def test_a_count_may_be_written_in_any_way(value):
    assert read(sent(tokensIn=value))["tokens_in"] == str(int(value))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.1, "0.10000"),
        (0.1 + 0.2, "0.30000"),
        (Decimal("0.000005"), "0.00001"),
        (Decimal("0.0000049999"), "0.00000"),
        (Decimal("1e-999999999"), "0.00000"),
        (1, "1.00000"),
    ],
)
def test_a_cost_is_rounded_half_up_to_five_places(value, kept):
    assert read(sent(costUSD=value))["cost_usd"] == kept


def test_a_rate_lies_between_0_and_100():
    assert read(sent(successRate=66.665))["success_rate_pct"] == "66.67"
    assert "holds 0 to 100" in problems(sent(successRate=100.001))[0]


@pytest.mark.parametrize(
    ("total", "successful", "rate"),
    [
        (0, 0, "0.00"),
        (3, 2, "66.67"),
        (3, 1, "33.33"),
        (8, 1, "12.50"),
        (7, 7, "100.00"),
        (32, 1, "3.13"),
        (800, 1, "0.13"),
    ],
)
def test_a_rate_that_is_absent_is_computed_and_rounded_half_up(total, successful, rate):
    assert success_rate(total, successful) == rate
    values = read(sent(agentsTotal=total, agentsSuccessful=successful))
    assert values["success_rate_pct"] == rate


def test_no_more_agents_succeed_than_were_started():
    assert problems(sent(agentsTotal=4, agentsSuccessful=5)) == [
        "agentsSuccessful is 5, more than agentsTotal, 4"
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "is blank"),
        (" \t", "is blank"),
        ("x" * 17, "is 17 characters long; the column holds 16"),
        ("\U0001f600" * 9, "is 18 characters long; the column holds 16"),
        ("a\0b", "contains a NUL character, which Postgres cannot store"),
        ("\ud800", "contains characters that are not valid Unicode"),
        (23, "is a number; it must be text"),
        (False, "is true or false; it must be text"),
        (b"2-3", "is of type bytes; it must be text"),
    ],
)
def test_text_has_to_be_there_to_fit_and_to_be_text(value, told):
    assert problems(sent(phase=value)) == [f"phase {told}"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("2026-10-30T13:00:00Z", "2026-10-30T13:00:00+00:00"),
        ("2026-10-30t13:00:00.25z", "2026-10-30T13:00:00.250000+00:00"),
        ("2026-10-30T22:00:00.123456789+09:00", "2026-10-30T13:00:00.123456+00:00"),
        ("2026-10-30 13:00:00+00", "2026-10-30T13:00:00+00:00"),
        (
            datetime(2026, 10, 30, 15, tzinfo=timezone(timedelta(hours=2))),
            "2026-10-30T13:00:00+00:00",
        ),
    ],
)
def test_an_instant_is_kept_in_utc(value, kept):
    assert read(sent(createdAt=value))["created_at"] == kept


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2026-10-30T13:00:00", "has no time zone"),
        (datetime(2026, 10, 30), "has no time zone"),  # noqa: DTZ001  that is the case
        ("2026-10-30", "is not a date and time"),
        ("yesterday", "is not a date and time"),
        ("2026-02-30T00:00:00Z", "is not a date and time"),
        ("2026-W44-5T13:00:00Z", "is not a date and time"),
        (1730293200, "is not a date and time"),
        ("1752-12-31T23:59:59Z", "is 1752-12-31; the column holds nothing before 1753"),
        ("0001-01-01T00:00:00+09:00", "is outside the years"),
        ("9999-12-31T23:59:59-09:00", "is outside the years"),
        ("2026-11-25T12:05:01Z", "lies in the future"),
    ],
)
def test_an_instant_has_a_zone_and_is_past(value, told):
    (problem,) = problems(sent(createdAt=value))
    assert problem.startswith(f"createdAt {told}")


def test_what_an_id_stands_for_never_changes():
    """Clients have stored these ids."""
    assert id_from_client("0B3C8F4E-6F0A-4A3C-9A55-00000000000A") == UUID(
        "0b3c8f4e-6f0a-4a3c-9a55-00000000000a"
    )
    assert id_from_client("run 7") == UUID("f828d8ff-0e7d-5227-bcb6-ab36fc02d832")
    assert id_from_key("run 7") == UUID("f828d8ff-0e7d-5227-bcb6-ab36fc02d832")
    assert id_from_key(str(UUID(int=7))) != UUID(int=7)
    values = read(sent(createdAt="2026-10-30T13:00:00Z"))
    assert id_from_content(values) == UUID("0b7fd3ed-43ad-5335-a300-f80de3e7fdd0")


@pytest.mark.parametrize(
    "value", ["", " k", "k\n", "k" * 256, "\0", 7, UUID(int=0), str(UUID(int=0))]
)
def test_what_can_be_no_id_is_told(value):
    with pytest.raises(InvalidValueError):
        id_from_client(value)
    assert problems(sent(id=value))[0].startswith("id ")


def test_one_of_id_and_key_is_enough():
    assert problems(sent(id="a"), key="b") == [
        "id and Idempotency-Key are both given; one is enough"
    ]


def test_a_record_without_identity_is_known_by_its_content():
    first = read_record(sent(), AGENTS, RULES)
    assert first.id == read_record(metrics(), POSTGRES, RULES).id
    assert first.id == read_record(sent(costUSD=0.0034800), AGENTS, RULES).id
    assert first.id != read_record(sent(costUSD=0.00349), AGENTS, RULES).id
    assert first.id != read_record(sent(createdAt=NOW), AGENTS, RULES).id


@pytest.mark.parametrize(
    ("postgres_type", "column", "good", "bad"),
    [
        ("uuid", "run_id", "0B3C8F4E-6F0A-4A3C-9A55-00000000000A", "r-1"),
        ("text", "run_id", "r-1", "x" * 65),
        ("character varying(3)", "run_id", "r-1", "r-12"),
        ("smallint", "tokens_in", 32767, 32768),
        ("bigint", "tokens_in", 2**31 - 1, 2**31),
        ("numeric(4,0)", "tokens_in", 9999, 10000),
        ("numeric(3,2)", "cost_usd", Decimal("9.99"), Decimal("9.991")),
        ("numeric", "cost_usd", 10**11, 10**11 + 1),
        ("double precision", "cost_usd", 10**11, 10**11 + 1),
    ],
)
def test_a_column_holds_what_both_ends_hold(postgres_type, column, good, bad):
    field = make_field(next(c for c in COLUMNS if c.postgres == column), postgres_type)
    assert field.read(good, NOW).startswith(str(good).lower())
    with pytest.raises(InvalidValueError):
        field.read(bad, NOW)


def test_the_spelling_is_the_one_that_most_names_are_in():
    assert spelling_of(sent().keys()) is AGENTS
    assert spelling_of(metrics().keys()) is POSTGRES
    assert spelling_of([]) is AGENTS
    assert problems({**metrics(), "tokensIn": 1}, POSTGRES) == [
        "'tokensIn' is not a field; did you mean tokens_in?"
    ]


def test_json_is_read_without_loss():
    raw = parse_json(
        '{"a": 0.1, "b": 12345678901234567890.123456789, "c": NaN, "d": 1e400,'
        f' "e": 1e{"9" * 30}, "f": {"7" * 5000}}}'
    )
    assert raw["a"] == Decimal("0.1")
    assert raw["b"] == Decimal("12345678901234567890.123456789")
    assert str(raw["c"]) == "NaN"
    assert raw["d"] == Decimal("1e400")
    assert raw["e"] == Decimal("Infinity")
    assert raw["f"] == Decimal("7" * 5000)


def test_a_name_that_is_there_twice_is_told():
    text = json.dumps(sent(id="k"))
    twice = text[:-1] + ', "tokensIn": 1500, "id": "k"}'
    assert problems(parse_json(twice)) == [
        "tokensIn is given more than once",
        "id is given more than once",
    ]


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '{"a": 1,}', "[" * 100_000])
def test_what_is_not_json_is_told(text):
    with pytest.raises(MalformedRecordError, match="JSON"):
        parse_json(text)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"{}"'])
def test_what_is_no_object_is_told(text):
    with pytest.raises(InvalidRecordError, match="not a JSON object"):
        parse_json(text)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("7", Decimal(7)),
        (" 7 ", Decimal(7)),
        ("-.5e3", Decimal(-500)),
        ("1,5", "1,5"),
        ("1_000", "1_000"),
        ("٣", "٣"),
    ],
)
def test_a_cell_is_a_number_where_the_column_holds_numbers(cell, value):
    cells = {"tokensIn": cell, "phase": cell, "costUSD": ""}
    assert parse_cells(cells, AGENTS) == {"tokensIn": value, "phase": cell}
