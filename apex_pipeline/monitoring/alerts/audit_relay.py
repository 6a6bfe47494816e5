"""Hand events of the journal on to the audit trail, which is in another database.

A silence has to work while the metrics database does not. So its event is committed with
it, beside the incidents, and appended to the trail as soon as that can be: at once, or by
the next tick of the health watch. The trail takes each act once, so being killed in
between repeats a hand-over and changes nothing.
"""

from collections.abc import Mapping

from apex_pipeline.audit.trail import append
from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_database_url

_PATIENCE_SECONDS = 3.0


def relay(journal: Journal, environment: Mapping[str, str]) -> str | None:
    """Append what waits; return why it could not be, or None.

    Raises:
        DatabaseError: The journal does not answer.
    """
    waiting = journal.silences.unaudited()
    if not waiting:
        return None
    try:
        with Database(
            load_database_url(environment),
            wait_seconds=_PATIENCE_SECONDS,
            statement_seconds=_PATIENCE_SECONDS,
            application_name="apex_pipeline audit",
        ) as database:
            for act, event in waiting:
                database.transact(lambda c: append(c, event, act), repeatable=True)  # noqa: B023  run at once
                journal.silences.audited(act)
    except ApexError as error:
        return str(error)
    return None
