"""What a fault of the network is called, without a word of where it was going."""

import re
import socket
import ssl

from apex_pipeline.microsoft.http_transport import certificate_fault

_NO_TLS = re.compile("WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|HTTP_REQUEST|RECORD_LAYER")


def reason(error: OSError) -> str:
    """The fault in words, with the remedy where there is one."""
    match error:
        case ssl.SSLCertVerificationError():
            return certificate_fault(error)
        case ssl.SSLError() if _NO_TLS.search(str(error)):
            return "it does not speak TLS on this port"
        case ssl.SSLError():
            return f"TLS failed: {error.strerror or type(error).__name__}"
        case TimeoutError():
            return "no answer: it took too long"
        case socket.gaierror():
            return "its name is not known to the DNS"
        case _:
            return f"no answer: {error.strerror or type(error).__name__}"
