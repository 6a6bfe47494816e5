"""Convert Postgres URLs in their many forms to libpq's connection parameters.

libpq's own parser reads them, so an address that works in `psql` works here: several
hosts, sockets, and `key=value` strings. Parameters that other libraries put into the
same variable are understood, ignored, or rejected with a hint. No message repeats a
value, because a malformed part may be a password.
"""

import logging
import re
import shlex
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.host_names import is_possible_host

logger = logging.getLogger(__name__)

_EXAMPLE = "postgresql://user:password@host/database"

# Pool and cache options of Prisma ("PostgreSQL: connection URL arguments" in its
# reference) and a switch of node-postgres. They have no meaning here.
_IGNORED = {
    *("pgbouncer", "connection_limit", "pool_timeout", "socket_timeout"),
    *("statement_cache_size", "single_use_connections", "max_connection_lifetime"),
    *("max_idle_connection_lifetime", "uselibpqcompat"),
}
_MEANT = {
    "sslaccept": "sslmode=verify-full, or sslmode=require to accept any certificate",
    "sslidentity": "sslcert and sslkey with PEM files",
    "ssl": "sslmode=require, or sslmode=disable for no TLS",
}
_KEYWORDS = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}

_ASSIGNED = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*\s*=\s*(.*)", re.DOTALL)
_PAIRS = re.compile(r"[a-z_]+\s*=")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://)?")
_BEFORE_QUERY = re.compile(r"(?:[^@/]*@)?[^/?]*(?:/[^?]*)?")
_NAME = re.compile(r"\w{1,40}", re.ASCII)
# It is quoted, as Prisma does it.
_SCHEMA = re.compile(r"[\w$-]+")
_PORTS = re.compile(r"\d{0,5}(?:,\d{0,5})*", re.ASCII)
_PLAIN_DATABASE = re.compile(r"[\w.-]+", re.ASCII)
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


def read_postgres_url(text: str, variable: str) -> dict[str, str]:
    """Return the connection parameters of an address, by libpq's names.

    Args:
        text: A URL or a `key=value` string, also in quotes or as the argument of
            `psql`, as web consoles show them.
        variable: Environment variable of the address, for messages.

    Raises:
        ConfigError: The address is unusable. The message says what to write.
    """
    bare = _bare(text, variable)
    found = _parsed(bare, variable) if _PAIRS.match(bare) else _read_url(bare, variable)
    hosts = f"{found.get('host', '')}{found.get('hostaddr', '')}"
    if "@" in f"{hosts}{found.get('dbname', '')}":
        raise _not_encoded(variable)
    # A path names the folder of a socket.
    named = filter(None, found.get("host", "").split(","))
    if not all(name.startswith("/") or is_possible_host(name) for name in named):
        raise _malformed(variable, "no host can have the name in the current value")
    if not _PORTS.fullmatch(found.get("port", "")):
        raise _malformed(variable, "the port in the current value is not a number")
    if not hosts or not found.get("dbname"):
        raise _malformed(variable, "the host or the database is missing")
    return found


def write_postgres_url(
    parameters: Mapping[str, str], scheme: str = "postgresql+psycopg"
) -> str:
    """Build a URL with our driver that `read_postgres_url` reads back.

    With the scheme `postgresql`, libpq and SQLAlchemy read it too.
    """
    rest = dict(parameters)
    netloc = quote(rest.pop("user", ""), safe="")
    if "password" in rest:
        netloc += f":{quote(rest.pop('password'), safe='')}"
    netloc += "@" if netloc else ""
    host = rest.get("host", "")
    if _PLAIN_HOST.fullmatch(host):
        netloc += f"[{host}]" if ":" in host else host
        netloc += f":{rest['port']}" if rest.get("port") else ""
        rest = {k: v for k, v in rest.items() if k not in {"host", "port"}}
    # SQLAlchemy decodes user, password and parameters, and not the path.
    is_plain = _PLAIN_DATABASE.fullmatch(rest.get("dbname", "")) is not None
    path = rest.pop("dbname") if is_plain else ""
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"{scheme}://{netloc}/{path}{query}"


def shown_address(parameters: Mapping[str, str]) -> str:
    """Hosts, ports and database, without secrets, for messages."""
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "local").split(",")
    ports = (parameters.get("port") or "5432").split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    pairs = zip(hosts, ports, strict=False)
    shown = ",".join(f"{host or 'local'}:{port or 5432}" for host, port in pairs)
    return f"{shown}/{parameters.get('dbname', '')}"


def _bare(text: str, variable: str) -> str:
    """Strip what surrounds a copied address: assignment, `psql` command, quotes."""
    bare = _unquoted(text)
    if assigned := _ASSIGNED.fullmatch(bare):
        bare = _unquoted(assigned[1])
    try:
        words = shlex.split(bare) if bare.startswith(("psql ", "psql\t")) else []
    except ValueError:
        words = ["psql"]
    if words:
        if len(words) != 2:
            raise _malformed(
                variable, "the current value is a psql command with options"
            )
        bare = words[1]
    return bare


def _unquoted(text: str) -> str:
    bare = text.strip()
    is_quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"`"
    return bare[1:-1].strip() if is_quoted else bare


def _read_url(text: str, variable: str) -> dict[str, str]:
    matched = _SCHEME.match(text)
    scheme = matched[1].lower() if matched else ""
    if scheme == "jdbc":
        raise _malformed(
            variable,
            "the current value is a JDBC address. Remove jdbc: and put user and "
            "password before the host",
        )
    if matched is None or not matched[0].endswith("//"):
        raise _malformed(variable, "the current value is not a URL")
    # SQLAlchemy's URLs may name a driver; ours is used in any case.
    if scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise _malformed(variable, f"the current value begins with {scheme}://")
    rest = text[matched.end() :]
    before = _BEFORE_QUERY.match(rest)
    place = before[0] if before else ""
    query = rest[len(place) :].removeprefix("?")
    if "@" in query:
        raise _not_encoded(variable)
    given = _query(query, variable)
    schema = given.pop("schema", "public")
    found = _parsed(
        f"postgresql://{place}?{urlencode(given, quote_via=quote)}", variable
    )
    return found | _search_path(schema, found, variable)


def _query(query: str, variable: str) -> dict[str, str]:
    """Return the parameters for Postgres, plus `schema`.

    Raises:
        ConfigError: A parameter is unknown, or has two values.
    """
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = (unquote(part) for part in pair.partition("="))
        if given.setdefault(name, value) != value:
            raise _wrong_parameter(variable, name, "has two values; keep only one")
    ignored = sorted(_IGNORED & given.keys())
    if ignored:
        _say_ignored(variable, ", ".join(ignored))
    kept = {name: value for name, value in given.items() if name not in _IGNORED}
    for name in kept.keys() - _KEYWORDS - {"schema", "ssl"}:
        raise _wrong_parameter(variable, name, _unknown(name))
    # libpq takes this one value for it, for the sake of JDBC.
    if kept.get("ssl", "true") != "true":
        raise _wrong_parameter(variable, "ssl", _unknown("ssl"))
    return kept


def _search_path(
    schema: str, found: Mapping[str, str], variable: str
) -> dict[str, str]:
    """The `options` parameter that adds a schema other than `public`."""
    if schema == "public":
        return {}
    if not _SCHEMA.fullmatch(schema):
        raise _wrong_parameter(variable, "schema", "must be the name of a schema")
    path = f'-csearch_path="{schema}"'
    return {"options": f"{found['options']} {path}" if "options" in found else path}


def _parsed(conninfo: str, variable: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        unknown = re.search(r'invalid connection option "(\w+)"', str(error))
        if unknown:
            name = unknown[1]
            raise _wrong_parameter(variable, name, _unknown(name)) from None
        if "percent-encoded" in str(error):
            raise _not_encoded(variable) from None
        raise _malformed(variable, "the current value is not a URL") from None
    return {name: str(value) for name, value in found.items() if value is not None}


@cache
def _say_ignored(variable: str, names: str) -> None:
    logger.warning(
        "%s: ignoring parameters that only other libraries use: %s",
        variable,
        names,
    )


def _malformed(variable: str, what: str) -> ConfigError:
    return ConfigError(f"{variable} must look like {_EXAMPLE}; {what}.")


def _wrong_parameter(variable: str, name: str, what: str) -> ConfigError:
    shown = f'"{name}"' if _NAME.fullmatch(name) else "with a malformed name"
    return ConfigError(f"{variable}: the parameter {shown} {what}.")


def _unknown(name: str) -> str:
    instead = f"write {_MEANT[name]}" if name in _MEANT else "remove it"
    return f"is not a connection parameter of Postgres; {instead}"


def _not_encoded(variable: str) -> ConfigError:
    return ConfigError(
        f"The user or the password in {variable} contains a character that must be "
        "percent-encoded: @ is %40, / is %2F, : is %3A, % is %25, a space is %20."
    )
