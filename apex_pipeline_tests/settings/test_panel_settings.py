import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import load_panel_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  nothing listens there
TOKEN = "a-token-that-is-long-enough"


def test_with_nothing_set_the_panel_is_for_this_machine_alone():
    settings = load_panel_settings({})
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 3100, None)
    assert settings.allowed_origins == ()


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.1.5", "panel.example.com"])
def test_other_machines_need_a_token(host):
    with pytest.raises(ConfigError, match="set APEX_PANEL_TOKEN"):
        load_panel_settings({"APEX_PANEL_HOST": host})
    with pytest.raises(ConfigError, match="set APEX_PANEL_TOKEN"):
        load_panel_settings({}, host=host)
    settings = load_panel_settings({"APEX_PANEL_HOST": host, "APEX_PANEL_TOKEN": TOKEN})
    assert settings.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_loopback_needs_none(host):
    assert load_panel_settings({"APEX_PANEL_HOST": host}).host == host


def test_what_is_given_beside_the_environment_goes_first():
    given = {"APEX_PANEL_HOST": EVERYWHERE, "APEX_PANEL_PORT": "1"}
    settings = load_panel_settings(given, host="127.0.0.2", port=3850)
    assert settings.url == "http://127.0.0.2:3850"


def test_all_that_is_malformed_is_named_at_once_and_no_secret_with_it():
    with pytest.raises(ConfigError) as caught:
        load_panel_settings(
            {
                "APEX_PANEL_PORT": "65536",
                "APEX_PANEL_TOKEN": "too short",
                "APEX_PANEL_CORS": "https://ok.example.com, ftp://x https://a/path *",
            }
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "'*'" in text
    assert "ok.example.com" not in text
    assert "too short" not in text


def test_the_token_is_in_no_representation():
    settings = load_panel_settings({"APEX_PANEL_TOKEN": TOKEN})
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("host", "url"),
    [(EVERYWHERE, "http://127.0.0.1:3100"), ("::1", "http://[::1]:3100")],
)
def test_the_address_is_one_that_a_browser_here_can_open(host, url):
    settings = load_panel_settings({"APEX_PANEL_TOKEN": TOKEN}, host=host)
    assert settings.url == url


@pytest.mark.parametrize(
    ("given", "path"),
    [("/apex", "/apex"), ("/a/b_c-1/", "/a/b_c-1"), ("/", ""), (" ", "")],
)
def test_the_path_behind_a_proxy_has_no_slash_at_its_end(given, path):
    assert load_panel_settings({"APEX_PANEL_ROOT_PATH": given}).root_path == path


@pytest.mark.parametrize(
    "path", ["apex", "/a//b", "/a/../b", "/a?b", '/"', "/ä", "/api", "/static/x", "//x"]
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match="APEX_PANEL_ROOT_PATH must look like /apex"):
        load_panel_settings({"APEX_PANEL_ROOT_PATH": path})


def test_only_origins_may_show_the_panel_in_a_frame():
    given = {"APEX_PANEL_FRAME_ANCESTORS": "https://studio.example:443"}
    assert load_panel_settings(given).frame_ancestors == ("https://studio.example",)
    for wrong in ("*", "https:", "'self'", "https://a.example/x"):
        with pytest.raises(ConfigError, match="APEX_PANEL_FRAME_ANCESTORS must list"):
            load_panel_settings({"APEX_PANEL_FRAME_ANCESTORS": wrong})


@pytest.mark.parametrize(
    "origin", ["https://a.example.com:8443", "http://localhost:5173", "https://[::1]:1"]
)
def test_origins_are_taken_as_they_are(origin):
    given = {"APEX_PANEL_CORS": f" {origin} ,"}
    assert load_panel_settings(given).allowed_origins == (origin,)


def test_an_origin_is_compared_as_a_browser_writes_it():
    given = {"APEX_PANEL_CORS": "https://a.example.com:443 http://b.example.com:80"}
    assert load_panel_settings(given).allowed_origins == (
        "https://a.example.com",
        "http://b.example.com",
    )


@pytest.mark.parametrize(
    "origin",
    [
        "https://u@a.example.com",
        "https://a/",
        "https://a?b",
        "a.example.com",
        "https://",
    ],
)
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(ConfigError, match="APEX_PANEL_CORS"):
        load_panel_settings({"APEX_PANEL_CORS": origin})
