"""Canonical JSON: RFC 8785, held to another implementation of it."""

import pytest
import rfc8785
from hypothesis import given, strategies as st

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
