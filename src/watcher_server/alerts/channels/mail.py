"""E-mail by SMTP: a message for each recipient, so that one who is refused keeps no other from being told."""

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.dialling import ForbiddenAddressError, resolve
from watcher_server.alerts.channels.snapshot import Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

# However slowly the server drips; the lease of the lane is longer.
_WHOLE_SECONDS = 60.0
_PERMANENT = 500


def render(snapshot: Snapshot, sender: str, recipient: str) -> EmailMessage:
    """The message to one recipient, as text and as HTML, in the thread of those before it."""
    message = EmailMessage()
    message["Subject"] = shorten(f"[{snapshot.level}] {snapshot.title}: {' '.join(snapshot.message.split())}", 150)
    message["From"] = sender
    message["To"] = recipient
    message["Date"] = format_datetime(snapshot.created_at)
    message["Message-ID"] = message_id(snapshot, sender)
    # So that no program answers that somebody is on holiday.
    message["Auto-Submitted"] = "auto-generated"
    if snapshot.parents:
        message["In-Reply-To"] = snapshot.parents[-1].ref
        message["References"] = " ".join(parent.ref for parent in snapshot.parents)
    message.set_content(snapshot.text)
    message.add_alternative(_html(snapshot), subtype="html")
    return message


def message_id(snapshot: Snapshot, sender: str) -> str:
    """The id of the message, the same at every try."""
    return f"<watcher.{snapshot.key}@{sender.rpartition('@')[2]}>"


def _html(snapshot: Snapshot) -> str:
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(label)}</th><td>{escape(value)}</td></tr>'
        for label, value in snapshot.details
    )
    link = f'<p><a href="{escape(snapshot.link)}">Open in Watcher</a></p>' if snapshot.link else ""
    heading = f"<h2>{escape(snapshot.level)}: {escape(snapshot.title)}</h2>"
    return f"<html><body>{heading}<p>{escape(snapshot.message)}</p><table>{rows}</table>{link}</body></html>"


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Send the message to the recipients that have not got it. TLS is verified, and never left out by itself."""
    arrived = set(snapshot.arrived)
    try:
        with _session(account, settings) as session:
            return _send_to_all(snapshot, account, session, arrived)
    except ForbiddenAddressError as error:
        return Outcome(error=str(error))
    except smtplib.SMTPAuthenticationError as error:
        return Outcome(error=_answer("the login", error.smtp_code), gone=error.smtp_code >= _PERMANENT)
    except smtplib.SMTPNotSupportedError:
        return Outcome(error="The mail server offers no STARTTLS or no login: see `security` of the channel")
    except smtplib.SMTPResponseException as error:
        return Outcome(error=_answer("the connection", error.smtp_code), arrived=arrived)
    except (OSError, smtplib.SMTPException) as error:
        # Only the recipients that the server took have been noted.
        why = "its name is not known" if isinstance(error, socket.gaierror) else type(error).__name__
        return Outcome(error=f"The mail server could not be used ({why})", arrived=arrived)


def _send_to_all(snapshot: Snapshot, account: Account, session: smtplib.SMTP, arrived: set[str]) -> Outcome:
    sender = account.text("from")
    refused: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for recipient in account.texts("to"):
        if recipient in arrived:
            continue
        code = _send_one(render(snapshot, sender, recipient), sender, recipient, session)
        if code == 0:
            arrived.add(recipient)
        else:
            (refused if code >= _PERMANENT else waiting)[recipient] = code
    error = "; ".join(_answer(recipient, code) for recipient, code in {**refused, **waiting}.items()) or None
    if waiting or not arrived:
        return Outcome(error=error, refused=not waiting, arrived=arrived)
    return Outcome(sent_to="email", ref=message_id(snapshot, sender), error=error)


def _send_one(message: EmailMessage, sender: str, recipient: str, session: smtplib.SMTP) -> int:
    """Send one message; the code with which the server refused it, 0 when it took it."""
    try:
        session.send_message(message, from_addr=sender, to_addrs=[recipient])
    except smtplib.SMTPRecipientsRefused as error:
        return int(error.recipients[recipient][0])
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        return int(error.smtp_code)
    return 0


def _answer(what: str, code: int) -> str:
    # The server's own words may quote a login.
    return f"The mail server answered {what} with {code}"


@contextmanager
def _session(account: Account, settings: Settings) -> Iterator[smtplib.SMTP]:
    """A session that was logged in, over TLS unless the channel says otherwise."""
    host, port = account.text("host"), int(account.text("port", "587"))
    address = host if "host" in account.own else resolve(host, port, settings)
    security = account.text("security", "starttls")
    context = ssl.create_default_context()
    session = _Tls(address, context) if security == "tls" else _Plain(address)
    deadline = threading.Timer(_WHOLE_SECONDS, _end, [session])
    deadline.start()
    try:
        # The name that certificates are checked against is the one that is configured, whatever is dialled.
        session.connect(host, port)
        if security == "starttls":
            session.starttls(context=context)
        if account.text("username"):
            session.login(account.text("username"), account.text("password"))
        yield session
        with suppress(OSError, smtplib.SMTPException):
            session.quit()
    finally:
        deadline.cancel()
        session.close()


def _end(session: smtplib.SMTP) -> None:
    """Have whatever the session waits for fail."""
    if session.sock is not None:
        with suppress(OSError):
            session.sock.shutdown(socket.SHUT_RDWR)


class _Plain(smtplib.SMTP):
    """A session with an address that was judged before, under the name of its host."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__(local_hostname=socket.gethostname(), timeout=10.0)

    def connect(self, host: str = "", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        self._host = host
        return super().connect(host, port, source_address)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _Tls(_Plain):
    """The same, over TLS from the first byte."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(address)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._context.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)
