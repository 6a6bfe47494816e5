"""What a fault of the network is called, without a word of where it was going."""

import socket
import ssl


def reason(error: OSError) -> str:
    """The fault in words, with the remedy where there is one."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate is not trusted ({error.verify_message}). If a private "
                "authority signed it, name its PEM file in APEX_CA_BUNDLE."
            )
        case ssl.SSLError():
            return "it does not speak TLS on this port"
        case TimeoutError():
            return "no answer: it took too long"
        case socket.gaierror():
            return "its name is not known to the DNS"
        case _:
            return f"no answer: {error.strerror or type(error).__name__}"
