"""The server's side of TLS: certificates that can be replaced, and clients' certificates taken without judging them.

Whether a client's certificate is worth anything is for the authenticators to say (authn/x509.py): the client CA and the
front proxy's are different ones, either may change, and who shows a stranger's certificate is told so by a 401. The ssl
module can only refuse the handshake, so OpenSSL is given a verification that accepts; possession of the key is proven
all the same. Where OpenSSL's functions cannot be reached, the handshake judges by all authorities together.
"""

import ctypes
import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for
_DER = 2  # ENCODING_DER of the _ssl module
_ACCEPT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda _store, _argument: 1)


def tls_context(certificate: str, key: str, *client_cas: str) -> ssl.SSLContext:
    """A server's context from PEM files. Raises OSError, ssl.SSLError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    for path in client_cas:
        context.load_verify_locations(path)
    if client_cas:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        context.num_tickets = 0  # a resumed session would bring the client's certificate without its intermediates
        context.options |= ssl.OP_NO_TICKET
        _accept_any(context)
    return context


class Serving:
    """A context with the files that it is from."""

    def __init__(self, certificate: Path, key: Path, client_cas: Iterable[Path]) -> None:
        """Raises OSError, ssl.SSLError."""
        self.files = certificate, key
        self.context = tls_context(str(certificate), str(key), *map(str, client_cas))

    def take(self) -> None:
        """Show the files as they are now from the next connection on. Raises OSError, ssl.SSLError."""
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self.files)  # loading half a pair would break ours
        self.context.load_cert_chain(*self.files)


def peer_certificates(tls: Any) -> tuple[bytes, ...]:
    """What the client showed (DER), its own certificate first; `tls` is an ssl.SSLObject or None."""
    own = tls.getpeercert(True) if tls is not None else None
    if own is None:
        return ()
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:  # Python 3.13
        return tuple(public())
    chain = tls._sslobj.get_unverified_chain() or ()
    return tuple(item.public_bytes(_DER) for item in chain) or (own,)


def _accept_any(context: ssl.SSLContext) -> None:
    if sys.implementation.name != "cpython":
        return
    import _ssl

    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)  # its first member, since Python 3.2
    try:
        library: Any = ctypes.CDLL(_ssl.__file__)
        mode_of, set_callback = library.SSL_CTX_get_verify_mode, library.SSL_CTX_set_cert_verify_callback
    except (AttributeError, OSError):
        return  # OpenSSL is a part of the interpreter, and hidden
    mode_of.argtypes = [ctypes.c_void_p]
    set_callback.argtypes = [ctypes.c_void_p, type(_ACCEPT), ctypes.c_void_p]
    if mode_of(pointer) == ssl.CERT_OPTIONAL:
        set_callback(pointer, _ACCEPT, None)
