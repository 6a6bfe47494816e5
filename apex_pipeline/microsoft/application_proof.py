"""What MSAL presents to Entra as proof of the application's identity."""

from functools import partial
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import Credential
from apex_pipeline.texts.redaction import OURS


def msal_credential(application: Credential) -> str | dict[str, Any]:
    """The secret, the certificate, or the workload identity's token.

    Raises:
        ConfigError: The certificate's file is unusable.
    """
    if application.token_file is not None:
        # MSAL calls it for each request, since the issuer replaces the token.
        return {"client_assertion": partial(read_assertion, application.token_file)}
    if application.certificate_path is None:
        return application.client_secret or ""
    # It loads cryptography, which applications with a secret do not need.
    from apex_pipeline.microsoft.client_certificate import (  # noqa: PLC0415
        read_client_certificate,
    )

    found = read_client_certificate(application.certificate_path)
    return {"private_key": found.private_key, "public_certificate": found.chain}


def read_assertion(path: Path) -> str:
    """The token that the cluster issued for this workload.

    Raises:
        ConfigError: The file is gone, empty or unreadable.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The workload identity's token in {path} cannot be read: {error}."
        ) from error
    if not token:
        raise ConfigError(f"The workload identity's token in {path} is empty.")
    OURS.remember(token)
    return token
