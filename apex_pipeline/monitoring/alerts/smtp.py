"""E-mail by SMTP: a submission server with a password, or a relay without one."""

import binascii
import logging
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.http_transport import trust
from apex_pipeline.monitoring.alerts.mail import message
from apex_pipeline.monitoring.alerts.notice import DeliveryError, Notice
from apex_pipeline.monitoring.alerts.webhook import reason
from apex_pipeline.settings import Encryption, MailSettings, SmtpSettings

logger = logging.getLogger(__name__)

_SECONDS = 10.0
_MOST_REPLY = 200


class SmtpMail:
    """Sends a message for each notice, over a connection of its own."""

    name = "email"

    def __init__(
        self, mail: MailSettings, server: SmtpSettings, ca_bundle: Path | None = None
    ) -> None:
        self._mail = mail
        self._server = server
        self._ca_bundle = ca_bundle

    def send(self, notice: Notice) -> None:
        """Hand a message to the server.

        A server that takes it for some recipients and not for others has taken it: sent
        again, it would reach the first ones twice. Who is left out is logged.

        Raises:
            DeliveryError: It was refused, or the answer was lost.
        """
        made = message(notice, sender=self._mail.sender, to=self._mail.to)
        with self._translated(), self._connected(_SECONDS) as smtp:
            refused = smtp.send_message(made, self._mail.sender, self._mail.to)
        if refused:
            logger.warning(
                "%s accepts no mail for %d of %d recipients: %s",
                self._place,
                len(refused),
                len(self._mail.to),
                "; ".join(_reply(*reply) for reply in refused.values()),
            )

    def reach(self, seconds: float) -> str:
        """Connect, greet, encrypt and sign in, and send nothing.

        Raises:
            DeliveryError: One of these failed.
        """
        began = time.monotonic()
        with self._translated(), self._connected(seconds) as smtp:
            code, said = smtp.noop()
            if code != 250:
                raise smtplib.SMTPResponseException(code, said)
            tls = isinstance(smtp.sock, ssl.SSLSocket)
        seen = ["TLS" if tls else "not encrypted"]
        seen += ["signed in"] if self._server.user else []
        took = 1000 * (time.monotonic() - began)
        return f"{self._place}, {', '.join(seen)}, {took:,.0f} ms, nothing sent"

    @property
    def _place(self) -> str:
        return f"{self._server.host}:{self._server.port}"

    @contextmanager
    def _connected(self, seconds: float) -> Iterator[smtplib.SMTP]:
        server = self._server
        context = trust(self._ca_bundle)
        with closing(_open(server, context, seconds)) as smtp:
            smtp.ehlo_or_helo_if_needed()
            if server.encryption is Encryption.REQUIRED or (
                server.encryption is Encryption.OFFERED and smtp.has_extn("starttls")
            ):
                # Without it, smtplib would send the password unencrypted.
                smtp.starttls(context=context)
            if server.user is not None:
                smtp.login(server.user, server.password or "")
            yield smtp
            # The message is accepted by now; a failed QUIT does not matter.
            with suppress(OSError):
                smtp.quit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the library's errors into ours; what a server says is cut to a line.

        Raises:
            DeliveryError: With what to do, where that can be told.
        """
        try:
            yield
        except ConfigError as error:
            raise DeliveryError(f"{self._place}: {error}") from None
        except smtplib.SMTPException as error:
            raise DeliveryError(f"{self._place}: {_refusal(error)}") from None
        except OSError as error:
            raise DeliveryError(f"{self._place}: {reason(error)}") from None
        except binascii.Error:
            raise DeliveryError(
                f"{self._place}: its challenge for signing in is not base64, so it is no "
                "SMTP server, or one with a fault. Check APEX_SMTP_URL."
            ) from None


def _open(
    server: SmtpSettings, context: ssl.SSLContext, seconds: float
) -> smtplib.SMTP:
    if server.encryption is Encryption.FROM_START:
        return smtplib.SMTP_SSL(
            server.host, server.port, timeout=seconds, context=context
        )
    return smtplib.SMTP(server.host, server.port, timeout=seconds)


def _refusal(error: smtplib.SMTPException) -> str:
    match error:
        case smtplib.SMTPAuthenticationError():
            return (
                f"it refuses user and password: {_reply(*error.args)}. Exchange Online "
                "accepts them only if SMTP AUTH is on for the mailbox; graph: needs no password."
            )
        case smtplib.SMTPRecipientsRefused():
            replies = "; ".join(_reply(*each) for each in error.recipients.values())
            return f"it accepts no mail for any recipient: {replies}"
        case smtplib.SMTPNotSupportedError():
            return (
                "it offers no STARTTLS, or no way to sign in, so the password was not "
                "sent. If it speaks TLS from the start, begin APEX_SMTP_URL with smtps://."
            )
        case smtplib.SMTPResponseException():
            return f"it refuses: {_reply(error.smtp_code, error.smtp_error)}"
        case _:
            return "it closed the connection, or was silent for too long"


def _reply(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(f"{code} {said}".split())[:_MOST_REPLY]
