"""Canonical JSON: RFC 8785, held to another implementation of it."""

import json

import psycopg
import pytest
import rfc8785
from hypothesis import given, strategies as st
from psycopg.types.json import Jsonb

from apex_pipeline.audit.canonical_json import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_what_another_implementation_writes(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(st.lists(VALUES, min_size=9, max_size=9))
def test_it_is_what_the_server_computes(database_url, values):
    """Which refuses an event whose hash is another."""
    stored = [value for value in values if "\\u0000" not in json.dumps(value)]
    with psycopg.connect(database_url) as connection:
        told = connection.execute(
            "SELECT audit_canonical(value) FROM jsonb_array_elements(%s)",
            (Jsonb(stored),),
        ).fetchall()
    assert [text.encode() for (text,) in told] == [canonical(each) for each in stored]


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        {"é": 1},
        {1: "x"},
        b"x",
        {"a": [1.5]},
        "\ud800",
        object,
    ],
    ids=repr,
)
def test_a_value_whose_form_is_not_certain_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011  the kind is the contract
        canonical(value)


def test_escapes_are_those_of_the_rfc():
    text = '\x00\b\t\n\f\r\x1f"\\/\x7f\u2028€'
    assert canonical(text) == (
        '"\\u0000\\b\\t\\n\\f\\r\\u001f\\"\\\\/\x7f\u2028€"'.encode()
    )
