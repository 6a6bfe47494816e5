import re
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given, strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql import psycopg2

from apex_pipeline.errors import ConfigError
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings.postgres_url import (
    read_postgres_url,
    shown_address,
    write_postgres_url,
)
from apex_pipeline_tests.support.ends import free_port

URL = "postgresql://user:pass-word@neon.example/db"
PARTS = {
    "user": "user",
    "password": "pass-word",
    "host": "neon.example",
    "dbname": "db",
}
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)


def read(text):
    return read_postgres_url(text, "DATABASE_URL")


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (URL, {}),
        (f"  {URL}\n", {}),
        (f"psql '{URL}?sslmode=require'", {"sslmode": "require"}),
        (f'psql "{URL}"', {}),
        (f"psql {URL}", {}),
        (f"'{URL}'", {}),
        (f'"{URL}"', {}),
        (f'DATABASE_URL="{URL}"', {}),
        (f"export DATABASE_URL={URL}", {}),
        (URL.replace("postgresql", "postgresql+psycopg2"), {}),
        (URL.replace("postgresql", "POSTGRES"), {}),
        (f"{URL}?schema=public", {}),
        (f"{URL}?schema=sales", {"options": '-csearch_path="sales"'}),
        (f"{URL}?schema=my-schema", {"options": '-csearch_path="my-schema"'}),
        (f"{URL}?schema=%C3%9Cber", {"options": '-csearch_path="Über"'}),
        (f"{URL}?schema=2026", {"options": '-csearch_path="2026"'}),
        (f"\"psql '{URL}'\"", {}),
        (f"DATABASE_URL=psql '{URL}'", {}),
        (f"{URL}?options=-cx%3D1&schema=s", {"options": '-cx=1 -csearch_path="s"'}),
        (f"{URL}?sslmode=require&sslmode=require", {"sslmode": "require"}),
        (f"{URL}?ssl=true", {"sslmode": "require"}),
        (f"{URL}?options=endpoint%3Dep-x", {"options": "endpoint=ep-x"}),
        ("host=neon.example dbname=db user=user password='pass-word'", {}),
        (f"{URL}?channel_binding=require", {"channel_binding": "require"}),
    ],
)
def test_an_address_is_read_as_people_have_it(text, more):
    assert read(text) == PARTS | more


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("postgresql://h1,h2:6000/db", "h1,h2", ",6000", "h1:5432,h2:6000/db"),
        ("postgresql://h1:1,h2:2/db", "h1,h2", "1,2", "h1:1,h2:2/db"),
        ("postgresql://%2Fvar%2Frun/db", "/var/run", None, "/var/run:5432/db"),
        ("postgresql:///db?host=/run/pg", "/run/pg", None, "/run/pg:5432/db"),
        ("postgresql://[::1]:6000/db", "::1", "6000", "::1:6000/db"),
    ],
)
def test_several_hosts_and_sockets_are_read(text, host, port, shown):
    found = read(text)
    assert (found["host"], found.get("port")) == (host, port)
    assert shown_address(found) == shown
    assert read(write_postgres_url(found)) == found


@pytest.mark.parametrize(
    "name", ["pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size"]
)
def test_what_prisma_alone_uses_is_ignored_and_said_once(name, caplog):
    text = f"{URL}?{name}=7&sslmode=require"
    for _ in range(2):
        assert read_postgres_url(text, f"URL_{name}") == PARTS | {"sslmode": "require"}
    assert caplog.messages == [
        f"URL_{name}: ignoring parameters that only other libraries use: {name}"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jdbc:postgresql://h/db?user=u&password=pass-word", "Remove jdbc:"),
        ("psql -h host -U user db", "psql command with options"),
        ("psql 'postgresql://u:pass-word@h/db", "psql command with options"),
        ("prisma+postgres://x.example/?api_key=pass-word", "begins with prisma+"),
        ("https://console.neon.tech/app", "begins with https://"),
        ("user:pass-word@host/db", "not a URL"),
        (f"{URL}?sslmode=require&sslmode=disable", '"sslmode" has two values'),
        (f"{URL}?sslaccept=strict", "write sslmode=verify-full"),
        (f"{URL}?ssl=require", "write sslmode=require"),
        (f"{URL}?ssl=false", "write sslmode=require"),
        (f"{URL}?schema=", '"schema" must be the name of a schema'),
        (f"{URL}?schema=a%20b", '"schema" must be the name of a schema'),
        (f"{URL}?speed=high", '"speed" is not a connection parameter'),
        ("host=h dbname=d speed=high", '"speed" is not a connection parameter'),
        (f"{URL}?pass%20word=1", "with a malformed name"),
        ("host=h password=pass-word", "the host or the database is missing"),
        ("postgresql://u:pass%word@h/db", "% is %25"),
        ("postgresql://u:pass-word?a=b/c@h/db", "percent-encoded"),
        ("postgresql://u:pass-word/a?b@h/db", "percent-encoded"),
        ("postgresql://u:pass-word@[::1/db", "not a URL"),
    ],
)
def test_what_cannot_be_used_is_named_for_what_it_is(text, told):
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        read(text)
    assert not re.search("pass.word", str(caught.value))


@given(user=TEXTS, password=TEXTS, database=TEXTS)
def test_any_name_and_password_survives_being_written_down(user, password, database):
    url = (
        f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}"
        f"@h/{quote(database, safe='')}"
    )
    if "@" in database:
        return
    found = read(url)
    assert (found["user"], found["password"]) == (user, password)
    assert read(write_postgres_url(found)) == found


@given(text=st.text() | st.text().map(lambda rest: f"postgresql://{rest}"))
def test_whatever_is_set_is_read_or_refused_in_words(text):
    try:
        found = read(text)
    except ConfigError:
        return
    assert read(write_postgres_url(found)) == found


def test_the_first_of_several_hosts_may_be_gone(database_url):
    found = read(database_url)
    hosts = found | {"host": f"127.0.0.1,{found['host']}"}
    hosts["port"] = f"{free_port()},{found['port']}"
    url = f"{write_postgres_url(hosts)}&target_session_attrs=read-write"
    database = Database(url, application_name="test", wait_seconds=5)
    with database.connect() as connection:
        assert connection.info.port == int(found["port"])


@pytest.mark.parametrize("name", ["Sales", "my-schema", "Über$1"])
def test_tables_are_looked_for_in_the_schema_that_prisma_names(database_url, name):
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    url = f"{database_url}?schema={quote(name)}&pgbouncer=true"
    with Database(url, application_name="test").connect() as connection:
        row = connection.execute("SELECT current_schema()").fetchone()
    assert row == (name,)


def test_a_server_is_reached_through_its_socket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    sockets = folder / "sockets"
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    server = EmbeddedPostgres(
        folder / "data", settings={"unix_socket_directories": str(sockets)}
    )
    server.start()
    try:
        parts = read(server.url("postgres"))
        encoded = quote(str(sockets), safe="")
        for text in (
            f"postgresql://apex:{parts['password']}@{encoded}:{parts['port']}/postgres",
            (
                f"postgresql:///postgres?host={sockets}&port={parts['port']}&user=apex"
                f"&password={parts['password']}"
            ),
        ):
            with Database(text, application_name="test").connect() as connection:
                assert connection.info.host == str(sockets)
    finally:
        server.stop()


def test_libpq_and_sqlalchemy_read_a_plain_url_alike():
    found = read("postgres://u:p[%40@/a%20b?host=/run/x")
    url = write_postgres_url(found, "postgresql")
    _, by_sqlalchemy = psycopg2.dialect().create_connect_args(make_url(url))
    assert conninfo_to_dict(url) == by_sqlalchemy == found
    assert found == {"user": "u", "password": "p[@", "dbname": "a b", "host": "/run/x"}
