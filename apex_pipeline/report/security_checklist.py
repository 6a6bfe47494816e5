"""The security checklist; each line is tested or read now, none is assumed."""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path

from apex_pipeline.audit.trail import head as read_head
from apex_pipeline.monitoring.doctor import check_results as doctor
from apex_pipeline.monitoring.facts import read_audit_facts
from apex_pipeline.report.acceptance import as_line
from apex_pipeline.report.document import LineState, ReportLine
from apex_pipeline.report.exposed_secrets import (
    environment_file,
    logs,
    private,
    process_list,
    sensitive_files,
)
from apex_pipeline.report.measured_lines import (
    Seen,
    measure,
    met,
    not_measured,
    not_met,
    warning,
)
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.schema_reading import read_analyst, read_server
from apex_pipeline.settings import is_loopback, project_dir
from apex_pipeline.settings.postgres_url import read_postgres_url

_FOREIGN = "elsewhere.invalid"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_BY_DOCTOR = {
    "TLS": "a handshake, with a certificate from a trusted authority",
    "audience": "claims of a new token",
    "role": "privileges as Dataverse reports them",
    "secret or certificate": "Entra, the certificate, or the date noted in a variable",
    "auditing": "the table's definition in Dataverse",
    "auditing of the environment": "the organization's settings in Dataverse",
}


def checklist(
    subject: Subject, doctors: Mapping[str, doctor.CheckLine]
) -> Iterator[ReportLine]:
    """Measure every line.

    Args:
        subject: The configuration to check.
        doctors: The doctor's lines by name; some of them belong here too.
    """
    for name, how in _BY_DOCTOR.items():
        if name in doctors:
            yield as_line(doctors[name], how=how)
        else:
            yield ReportLine(
                name, LineState.NOT_MEASURED, "Dataverse is not configured"
            )
    yield from _files(subject)
    yield from _secrets_at_large(subject)
    yield from _panel(subject)
    yield from _database(subject)


def _files(subject: Subject) -> Iterator[ReportLine]:
    yield measure(
        "token cache",
        "accessible only to its owner (0600)",
        "mode of the file",
        lambda: private([subject.token_cache], "no token is cached yet"),
    )
    yield measure(
        "state folder",
        "accessible only to its owner (0700)",
        "mode of the folder",
        lambda: private([subject.state], "there is no state folder"),
    )
    yield measure(
        "files with secrets",
        "accessible only to their owner",
        "modes of the files in the state folder that contain secrets or private keys",
        lambda: private(
            list(sensitive_files(subject.state, subject.secrets)),
            "no file in the state folder contains one",
        ),
    )
    yield measure(
        "file .env",
        "accessible only to its owner",
        "mode of the file",
        lambda: environment_file(Path.cwd(), project_dir()),
    )


def _secrets_at_large(subject: Subject) -> Iterator[ReportLine]:
    yield measure(
        "process list",
        "no command line contains a secret",
        f"search of all processes' command lines for {len(subject.secrets)} secrets",
        lambda: process_list(subject.secrets),
    )
    yield measure(
        "logs",
        "no log contains a secret",
        "the same search in the log files of `apex up`",
        lambda: logs(subject.state / "logs", subject.secrets),
    )


def _panel(subject: Subject) -> Iterator[ReportLine]:
    yield measure(
        "panel: access",
        "only from this machine, or with the token",
        "requests without the token, and with another machine's host name",
        lambda: _visitors(subject),
    )
    yield measure(
        "panel: other sites",
        "cannot change anything (403)",
        "a change with the origin of another site",
        lambda: _other_sites(subject),
    )
    yield measure(
        "panel: headers",
        "strict content security policy, nosniff, no frames",
        "headers of the panel's page",
        lambda: _security_headers(subject),
    )


def _database(subject: Subject) -> Iterator[ReportLine]:
    yield measure(
        "connection to Postgres",
        "encrypted, or within this machine",
        "pg_stat_ssl, for a new connection",
        lambda: _encryption(subject),
    )
    yield measure(
        "role apex_analyst",
        "cannot read raw rows, write, or log in",
        "has_table_privilege and pg_roles",
        lambda: _analyst(subject),
    )
    yield measure(
        "audit trail",
        "unbroken; keep this report, it holds an anchor",
        "the last verification, and the head of the trail now: `apex audit verify "
        "--anchor` takes it",
        lambda: _audit_trail(subject),
    )


def _visitors(subject: Subject) -> Seen:
    panel = subject.panel()
    with panel.client() as client:
        plain = client.get("/api/kpis").status_code
        foreign = client.get("/api/kpis", headers={"Host": _FOREIGN}).status_code
    seen = f"HTTP {plain} without a token, HTTP {foreign} as {_FOREIGN}"
    if panel.settings.token is not None:
        return met(seen) if plain == foreign == 401 else not_met(seen)
    if not is_loopback(panel.settings.host) or foreign != 421:
        return not_met(f"it listens on {panel.settings.host} without a token; {seen}")
    return met(f"it listens only on {panel.settings.host}; {seen}")


def _other_sites(subject: Subject) -> Seen:
    panel = subject.panel()
    headers = panel.authorization | {"Origin": f"https://{_FOREIGN}"}
    with panel.client(headers) as client:
        status = client.post("/api/metrics/campaign", json={}).status_code
    return (met if status == 403 else not_met)(f"HTTP {status}")


def _security_headers(subject: Subject) -> Seen:
    panel = subject.panel()
    with panel.client(panel.authorization) as client:
        headers = client.get("/").headers
    wanted = dict(_HEADERS)
    if panel.settings.frame_ancestors:
        # The operator allows some; the policy names them.
        del wanted["X-Frame-Options"]
    lacking = [
        name for name, text in wanted.items() if text not in headers.get(name, "")
    ]
    return not_met(f"missing: {', '.join(lacking)}") if lacking else met("all present")


def _encryption(subject: Subject) -> Seen:
    with subject.open_database() as database:
        server = read_server(database)
    url = subject.configuration.database_url or ""
    parameters = read_postgres_url(url, "DATABASE_URL")
    hosts = parameters.get("host") or parameters["hostaddr"]
    others = [each for each in hosts.split(",") if not _is_of_this_machine(each)]
    named = ", ".join(others)
    if server.is_encrypted:
        return met("TLS")
    if not others:
        return met("not encrypted, within this machine")
    if all(map(_is_private, others)):
        return warning(f"not encrypted, to {named} in a private network")
    return not_met(f"not encrypted, to {named}; set sslmode=require in DATABASE_URL")


def _is_of_this_machine(host: str) -> bool:
    return host.startswith("/") or is_loopback(host)


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _analyst(subject: Subject) -> Seen:
    with subject.open_database() as database:
        role = read_analyst(database)
    if not role.exists:
        return not_measured("there is no such role; `apex provision database` says why")
    wrong = [
        text
        for text, is_so in {
            "it reads campaign_metrics": role.reads_raw_rows,
            "it can log in": role.can_log_in,
            f"it can write to {role.writable} tables": role.writable > 0,
        }.items()
        if is_so
    ]
    return (
        not_met("; ".join(wrong))
        if wrong
        else met("it cannot read raw rows, write, or log in")
    )


def _audit_trail(subject: Subject) -> Seen:
    with subject.open_database() as database:
        facts = database.ask(read_audit_facts)
        head = database.ask(read_head)
    found = facts.verified
    if found is None:
        return not_measured("it was never verified; run `apex audit verify`")
    if not found.is_unbroken:
        return not_met(found.problems[0])
    return met(f"{found.events:,} events verified; anchor {head}")
