"""Keep passwords and rows from a stranger on this machine who listens where Postgres did.

Without TLS nothing tells who answers at a port. A user who gets it while the server restarts
could ask for the password in clear text; SCRAM proves the server first. She could also ask
for nothing, and answer queries with rows of her own. Of the embedded server we know that it
demands SCRAM. Any other may trust its clients, as on developers' machines.
"""

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from apex_pipeline.settings import is_loopback

_NO_CLEAR_TEXT = {"require_auth": "!password"}
_PROOF = {"require_auth": "scram-sha-256"}
_FIRST_THAT_KNOWS_IT = 160_000
_ENCRYPTED = {"require", "verify-ca", "verify-full"}


def guards(parameters: Mapping[str, str], libpq_version: int) -> dict[str, str]:
    """Parameters of libpq for this address; those of the operator go before them.

    Args:
        parameters: The address, by libpq's names.
        libpq_version: Of the client library, such as 160003.
    """
    is_encrypted = parameters.get("sslmode") in _ENCRYPTED
    if libpq_version < _FIRST_THAT_KNOWS_IT or is_encrypted:
        return {}
    return dict(_NO_CLEAR_TEXT) if is_loopback(parameters.get("host", "")) else {}


def embedded_guards(libpq_version: int) -> dict[str, str]:
    """Parameters of libpq for the embedded server, which proves that it is the one."""
    return dict(_PROOF) if libpq_version >= _FIRST_THAT_KNOWS_IT else {}


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """A URL without parameters, and these added."""
    return urlsplit(url)._replace(query=urlencode(parameters)).geturl()
