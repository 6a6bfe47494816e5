"""Time stamps of a third party (RFC 3161): the hash existed then, says the authority.

The authority sees the hash alone. Its answer is checked offline, now and years later:
its certificates have to be valid at the time that it names, not today.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    Verifier,
    VerifierBuilder,
    decode_timestamp_response,
)

from apex_pipeline.audit.anchors import KeptAnchor, TimeStamp
from apex_pipeline.audit.trail import Head
from apex_pipeline.errors import ApexError, ConfigError

_QUERY = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
}
_MOST_BYTES = 100_000
_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamp authority, and the certificates that it is known by."""

    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def read(cls, path: Path) -> "Authority":
        """Read the certificates of a PEM file.

        Raises:
            ConfigError: The file has none.
        """
        try:
            found = _CERTIFICATE.findall(path.read_bytes())
            certificates = tuple(x509.load_pem_x509_certificate(each) for each in found)
        except (OSError, ValueError) as error:
            raise ConfigError(f"APEX_TSA_CERTIFICATES, {path}: {error}.") from error
        if not certificates:
            raise ConfigError(f"APEX_TSA_CERTIFICATES, {path}, has no certificate.")
        return cls(certificates)

    def stamp(self, http: httpx.Client, url: str, head: Head) -> TimeStamp:
        """Have a head stamped, and check the answer.

        Raises:
            ApexError: No answer, or not one that proves anything.
        """
        request = (
            TimestampRequestBuilder()
            .data(_message(head))
            .hash_algorithm(HashAlgorithm.SHA256)
            .build()
        )
        try:
            answer = http.post(url, content=request.as_bytes(), headers=_QUERY)
        except httpx.HTTPError as error:
            raise ApexError(
                f"The time-stamp authority {url} does not answer: {str(error) or type(error).__name__}. "
                "The next run asks again."
            ) from error
        if answer.status_code != 200 or len(answer.content) > _MOST_BYTES:
            raise ApexError(
                f"The time-stamp authority {url} answers HTTP {answer.status_code} with "
                f"{len(answer.content)} bytes, not a time stamp. Check APEX_TSA_URL."
            )
        stamp = TimeStamp(url, answer.content)
        wrong = self._wrong(stamp, head, request.nonce)
        if wrong is not None:
            raise ApexError(
                f"The time stamp of {url} is not valid: {wrong}. Check APEX_TSA_URL and "
                "APEX_TSA_CERTIFICATES."
            )
        return stamp

    def check(self, anchor: KeptAnchor) -> str | None:
        """What is wrong with an anchor's time stamp; None if nothing is."""
        if anchor.time_stamp is None:
            return None
        wrong = self._wrong(anchor.time_stamp, anchor.head)
        return wrong and f"its time stamp is not valid: {wrong}"

    def _wrong(
        self, stamp: TimeStamp, head: Head, nonce: int | None = None
    ) -> str | None:
        try:
            response: TimeStampResponse = decode_timestamp_response(stamp.answer)
            self._verifier(nonce).verify_message(response, _message(head))
        except (ValueError, VerificationError) as error:
            return str(error) or type(error).__name__
        return None

    def _verifier(self, nonce: int | None) -> Verifier:
        issuers = [each for each in self.certificates if each.issuer != each.subject]
        roots = [each for each in self.certificates if each.issuer == each.subject]
        if not roots:
            raise ValueError("APEX_TSA_CERTIFICATES lacks the root certificate")
        return VerifierBuilder(intermediates=issuers, roots=roots, nonce=nonce).build()


def _message(head: Head) -> bytes:
    """What is stamped: the head as notices and reports show it."""
    return str(head).encode()
