"""E-mail by Microsoft Graph, with the pipeline's own application.

For tenants in which Exchange takes no user and password by SMTP any more. The message
is the one that SMTP would carry; Exchange may give it a `Message-ID` of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.microsoft import graph
from apex_pipeline.microsoft.documented_success import MAIL_TAKEN, is_service_error
from apex_pipeline.microsoft.http_answer import Answer, stand_in
from apex_pipeline.monitoring.alerts.mail import message
from apex_pipeline.monitoring.alerts.notice import DeliveryError, Notice
from apex_pipeline.monitoring.alerts.send_limits import until_taken
from apex_pipeline.settings import DataverseSettings, MailSettings

_REMEDIES = {
    403: "The application lacks Mail.Send for the mailbox in APEX_ALERT_EMAIL_FROM; "
    "what was granted in Exchange takes up to two hours.",
    404: "APEX_ALERT_EMAIL_FROM must be a mailbox of the tenant.",
}


class GraphMail:
    """Sends a message for each notice, from the sender's mailbox."""

    name = "email"

    def __init__(
        self,
        mail: MailSettings,
        application: Callable[[], DataverseSettings],
        token_cache: Path,
        *,
        patiently: Callable[[Callable[[], Answer]], Answer] = until_taken,
    ) -> None:
        self._mail = mail
        self._application = application
        self._token_cache = token_cache
        self._patiently = patiently

    def send(self, notice: Notice) -> None:
        """Have Graph send a message.

        Raises:
            DeliveryError: It was refused, or the answer was lost.
        """
        made = message(notice, sender=self._mail.sender, to=self._mail.to)
        with self._opened(graph.SECONDS) as opened:
            answer = self._patiently(
                partial(opened.send_mail, self._mail.sender, made.as_bytes())
            )
        if MAIL_TAKEN(answer) is not None:
            raise _undelivered(_refusal(answer))

    def reach(self, seconds: float) -> str:
        """Get a token; whether the mailbox may be used shows only when it is.

        Raises:
            DeliveryError: There is none.
        """
        with self._opened(seconds) as opened:
            opened.token()
            return f"{opened.origin}, token acquired, nothing sent"

    @contextmanager
    def _opened(self, seconds: float) -> Iterator[graph.Graph]:
        try:
            with graph.connect(
                self._application(), self._token_cache, seconds=seconds
            ) as opened:
                yield opened
        except DeliveryError as error:
            raise _undelivered(str(error), error.retry_after) from None
        except ApexError as error:
            raise _undelivered(str(error)) from error


def _refusal(answer: Answer) -> str:
    if not is_service_error(answer):
        return stand_in(answer, "Microsoft Graph")
    remedy = _REMEDIES.get(answer.status, "")
    return f"HTTP {answer.status}, {answer.error()[1]} {remedy}".rstrip()


def _undelivered(reason: str, retry_after: float | None = None) -> DeliveryError:
    return DeliveryError(f"Microsoft Graph: {reason}", retry_after=retry_after)
