"""An environment that answers what it must not."""

import pytest
from hypothesis import strategies as st

from apex_pipeline_tests.support.hostile import serving


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hostile")) as server:
        yield server


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Another host, which must receive nothing."""
    with serving(tmp_path_factory.mktemp("elsewhere")) as server:
        yield server


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["0x80048d19", "0x80044331", "0x80072322"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "value", "@odata.nextLink"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


VERSION = {"OData-Version": "4.0"}
JSON_VERSION = VERSION | {"Content-Type": "application/json"}
