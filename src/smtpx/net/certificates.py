"""A server's certificates: by the name that a client asks for, and renewed ones.

Theory of operation. A context that was handed out is never changed, since handshakes
under it may be under way: `ServerTLS.reload` makes new ones of the files, and hands
those out from then on. A connection keeps its context, so what it says of the
certificate it showed stays true.

With names (SNI, RFC 6066) there is a context for each certificate, all made alike. The
first one sees the name, and has OpenSSL change over to another one, of which that takes
the certificate alone.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpx.net.tls import NamedSSLObject

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

__all__ = ["Certificate", "ServerTLS", "server_context"]

# RFC 6066: a host name, without a dot at its end. A client may write anything there,
# which goes to logs and hooks.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")
_MAX_HOST_NAME_OCTETS: Final = 255


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate.

    Attributes:
        chain: PEM file of the certificate, followed by those of its issuers.
        key: PEM file of its private key; None: in the same file.
        key_password: what decrypts the key.
    """

    chain: str | PathLike[str]
    key: str | PathLike[str] | None = None
    key_password: str | None = field(default=None, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is made of."""
        names = (self.chain,) if self.key is None else (self.chain, self.key)
        return tuple(Path(name) for name in names)


class ServerTLS:
    """Makes the TLS contexts of a server, again when the certificates were renewed.

    Give it as ``tls`` in ``ServerOptions``. `Server.reload_tls` reads the files again.

    Args:
        certificate: what is shown to clients that ask for no name, or for an unknown
            one: `Certificate`, or its PEM file with the key in it.
        by_name: other certificates, by the host name that a client asks for;
            ``*.example.com`` stands for all names with one label more.
        client_ca: PEM file of authorities; then clients are asked for a certificate,
            which must be theirs: see ``ConnectionInfo.tls``.
        require_client_certificate: let nobody in who shows none.
        poll_seconds: look this often whether a file has changed, and reload then.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.
        ValueError: a name is none, or the options contradict each other.

    Example:
        ::

            tls = smtpx.ServerTLS(
                smtpx.Certificate("mx.pem", "mx.key"),
                by_name={"mail.example.org": smtpx.Certificate("org.pem")},
            )
            options = smtpx.ServerOptions(tls=tls)
    """

    def __init__(
        self,
        certificate: Certificate | str | PathLike[str],
        *,
        by_name: Mapping[str, Certificate | str | PathLike[str]] | None = None,
        client_ca: str | PathLike[str] | None = None,
        require_client_certificate: bool = False,
        poll_seconds: float | None = None,
    ) -> None:
        if require_client_certificate and client_ca is None:
            raise ValueError("require_client_certificate needs client_ca")
        if poll_seconds is not None and poll_seconds <= 0:
            raise ValueError(f"poll_seconds must be over 0, not {poll_seconds}")
        self.poll_seconds = poll_seconds
        self._default = _certificate_of(certificate)
        self._by_name = {
            _check_name(name): _certificate_of(one)
            for name, one in (by_name or {}).items()
        }
        self._client_ca = None if client_ca is None else Path(client_ca)
        self._verify_mode = ssl.CERT_NONE
        if client_ca is not None:
            self._verify_mode = (
                ssl.CERT_REQUIRED if require_client_certificate else ssl.CERT_OPTIONAL
            )
        self.reload()

    def __repr__(self) -> str:
        names = " ".join(sorted(self._by_name))
        return f"<ServerTLS {self._default.chain}{names and ' '}{names}>"

    @property
    def context(self) -> ssl.SSLContext:
        """The context for handshakes from now on. Never change it."""
        return self._context

    def reload(self) -> None:
        """Read the files again, and make a new context.

        Raises:
            OSError: a file cannot be read, or is no certificate or key; then all stays
                as it was.
        """
        # Before they are read: what is written meanwhile is a change.
        seen = self._look()
        contexts: dict[Certificate, ssl.SSLContext] = {}
        for certificate in (self._default, *self._by_name.values()):
            if certificate not in contexts:
                contexts[certificate] = self._make_context(certificate)
        context = contexts[self._default]
        by_name = {name: contexts[one] for name, one in self._by_name.items()}
        context.sni_callback = _choose(by_name)
        self._context, self._seen = context, seen

    def reload_if_changed(self) -> bool:
        """Reload if a file is another one than when it was read; tell whether it was.

        Raises:
            OSError: as `reload`.
        """
        if self._look() == self._seen:
            return False
        self.reload()
        return True

    # ------------------------------------------------------------------------- inside

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file does, or when a link leads elsewhere.

        Raises:
            OSError: a file is gone.
        """
        files = {
            f for one in (self._default, *self._by_name.values()) for f in one.files
        }
        if self._client_ca is not None:
            files.add(self._client_ca)
        found = [path.stat() for path in sorted(files)]
        return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in found)

    def _make_context(self, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # RFC 8996 retires the versions before it.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslobject_class = NamedSSLObject
        _load(context, certificate)
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = self._verify_mode
        return context


def server_context(
    certificate: str | PathLike[str],
    key: str | PathLike[str] | None = None,
    *,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """Make a TLS context for a server: TLS 1.2 or later.

    `ServerTLS` has more: several names, clients' certificates, and new files at run
    time.

    Args:
        certificate: PEM file of the certificate with its chain.
        key: PEM file of its private key, if not in the same file.
        key_password: what decrypts the key.

    Raises:
        OSError: a file cannot be read, or is no certificate or key.
    """
    return ServerTLS(Certificate(certificate, key, key_password)).context


def _certificate_of(given: Certificate | str | PathLike[str]) -> Certificate:
    return given if isinstance(given, Certificate) else Certificate(given)


def _check_name(name: str) -> str:
    if not _is_host_name(name.removeprefix("*.")):
        message = (
            f"{name!r} is no host name, nor *. and one: a client asks for none such"
        )
        raise ValueError(message)
    return name.lower()


def _is_host_name(name: str) -> bool:
    return len(name) <= _MAX_HOST_NAME_OCTETS and _HOST_NAME.match(name) is not None


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load a certificate; errors say which file it is about."""

    def password() -> str:
        if certificate.key_password is None:
            # Else OpenSSL would ask on the terminal, of a server.
            raise ValueError("its key is encrypted: give key_password")
        return certificate.key_password

    where = " and ".join(str(path) for path in certificate.files)
    try:
        context.load_cert_chain(certificate.chain, certificate.key, password)
    except ssl.SSLError as error:
        reason = f" ({error.reason})" if error.reason else ""  # of what is no PEM
        message = f"{where}: no certificate with its key in PEM form{reason}"
        raise ssl.SSLError(error.errno, message) from None
    except OSError as error:
        raise OSError(error.errno, f"{where}: {error.strerror}") from None
    except ValueError as error:
        raise OSError(None, f"{where}: {error}") from None


def _choose(
    by_name: Mapping[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Return what OpenSSL calls with the name that a client asks for, None if none."""

    def choose(
        connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext
    ) -> None:
        if name is None or not _is_host_name(name):
            return
        if isinstance(connection, NamedSSLObject):
            connection.requested_name = name
        name = name.lower()
        context = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if context is not None:
            connection.context = context

    return choose
