"""E-mail, through a mail server."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

from tests.support.certificates import certificate
from tests.support.live import free_port
from tests.support.snapshots import channel, resolved, snapshot
from watcher_server.alerts.channels.snapshot import Parent, Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.sending import send
from watcher_server.settings import load_settings


@dataclass
class Mailbox:
    """What the server took, by recipient, and how it answers others."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    taken: list[tuple[str, Message]] = field(default_factory=list)
    logins: list[Any] = field(default_factory=list)

    async def handle_RCPT(self, _: SMTP, __: Any, envelope: Envelope, address: str, ___: Any) -> str:  # noqa: N802
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Any, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.taken += [(address, message_from_bytes(envelope.content)) for address in envelope.rcpt_tos]
        return "250 OK"


@contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    mailbox = Mailbox(port=free_port())
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as found:
        yield found


def mail(box: Mailbox, told: Snapshot, **spec: Any) -> Outcome:
    values = {
        "host": "127.0.0.1",
        "port": box.port,
        "security": "none",
        "from": "w@acme.example",
        "to": ["a@x.example"],
    }
    settings = load_settings(alert_private_hosts="127.0.0.1,localhost")
    return send(channel("email", **{**values, **spec}), told, settings)


def test_each_recipient_gets_a_message_of_their_own_as_text_and_as_html(mailbox: Mailbox) -> None:
    outcome = mail(mailbox, snapshot(), to=["a@x.example", "b@x.example"])

    assert outcome == Outcome(sent_to="email", ref="<watcher.7-20261122021409@acme.example>")
    assert [(address, message["To"]) for address, message in mailbox.taken] == [
        ("a@x.example", "a@x.example"),
        ("b@x.example", "b@x.example"),
    ]
    message = mailbox.taken[0][1]
    assert message["Subject"] == "[ERROR] Pipeline Failing: Pipeline 'orders' (ID: 1) failed"
    assert message["Message-ID"] == outcome.ref
    assert [part.get_content_type() for part in message.walk()][1:] == ["text/plain", "text/html"]


def test_what_comes_later_belongs_to_the_thread(mailbox: Mailbox) -> None:
    mail(mailbox, resolved(key="8", parents=[Parent("<first@acme.example>", "", is_over=True)]))

    message = mailbox.taken[0][1]
    assert message["References"] == message["In-Reply-To"] == "<first@acme.example>"
    assert message["Message-ID"] == "<watcher.8@acme.example>"


def test_a_name_cannot_add_a_header_or_mark_up(mailbox: Mailbox) -> None:
    mail(mailbox, snapshot(message="x\r\nBcc: spy@x.example", details=[("<b>", "<script>")]))

    message = mailbox.taken[0][1]
    assert (message["Bcc"], len(mailbox.taken)) == (None, 1)
    html = next(part for part in message.walk() if part.get_content_type() == "text/html")
    assert "<script>" not in str(html.get_payload(decode=True))


def test_a_recipient_who_is_refused_keeps_no_other_from_being_told(mailbox: Mailbox) -> None:
    mailbox.answers = {"gone@x.example": "550 No such user here, said to w:secret"}

    outcome = mail(mailbox, snapshot(), to=["gone@x.example", "b@x.example"])

    assert outcome.sent_to == "email"
    assert outcome.error == "The mail server answered gone@x.example with 550"
    assert [address for address, _ in mailbox.taken] == ["b@x.example"]


def test_who_is_to_be_tried_again_is_tried_alone(mailbox: Mailbox) -> None:
    mailbox.answers = {"busy@x.example": "450 Try again later"}
    recipients = ["busy@x.example", "b@x.example"]

    first = mail(mailbox, snapshot(), to=recipients)
    assert (first.sent_to, first.refused, set(first.arrived)) == (None, False, {"b@x.example"})

    mailbox.answers = {}
    assert mail(mailbox, replace(snapshot(), arrived=frozenset(first.arrived)), to=recipients).sent_to == "email"
    assert [address for address, _ in mailbox.taken] == ["b@x.example", "busy@x.example"]


def test_a_message_that_no_recipient_may_get_is_refused(mailbox: Mailbox) -> None:
    mailbox.answers = {"a@x.example": "550 No"}

    outcome = mail(mailbox, snapshot())

    assert (outcome.refused, outcome.error) == (True, "The mail server answered a@x.example with 550")


def test_without_starttls_nothing_is_sent_where_it_is_asked_for(mailbox: Mailbox) -> None:
    outcome = mail(mailbox, snapshot(), security="starttls")

    assert "offers no STARTTLS" in (outcome.error or "")
    assert mailbox.taken == []


def test_a_server_that_is_away_is_said_to_be(mailbox: Mailbox) -> None:
    outcome = mail(mailbox, snapshot(), port=free_port())

    assert outcome.error == "The mail server could not be used (ConnectionRefusedError)"


def test_a_server_whose_name_nobody_knows_is_said_to_be(mailbox: Mailbox) -> None:
    outcome = mail(mailbox, snapshot(), host="smtp.acme.invalid")

    assert outcome.error == "The mail server could not be used (its name is not known)"


def test_a_server_inside_is_not_asked_unless_the_operator_allows_it() -> None:
    inside = channel("email", host="localhost", to=["a@x.example"], **{"from": "w@acme.example"})

    assert "localhost is no public address" in (send(inside, snapshot(), load_settings()).error or "")


def _context(folder: Path) -> ssl.SSLContext:
    pair = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _log_in(box: list[Any], _: SMTP, __: Any, ___: Any, mechanism: str, data: Any) -> AuthResult:
    box.append(data)
    return AuthResult(success=data == LoginPassword(b"watcher", b"secret"), handled=False)


def test_starttls_verifies_the_name_and_a_login_goes_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logins: list[Any] = []
    context = _context(tmp_path)
    with mail_server(
        tls_context=context,
        require_starttls=True,
        authenticator=lambda *args: _log_in(logins, *args),
        auth_require_tls=True,
    ) as box:
        spec = {"host": "localhost", "security": "starttls", "username": "watcher"}
        assert "SSLCertVerificationError" in (mail(box, snapshot(), **spec, password="secret").error or "")

        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert mail(box, snapshot(), **spec, password="secret").sent_to == "email"
        wrong_name = mail(box, snapshot(), **{**spec, "host": "127.0.0.1"}, password="secret")
        assert "SSLCertVerificationError" in (wrong_name.error or "")
        refused = mail(box, snapshot(), **spec, password="wrong")
        assert (refused.gone, refused.error) == (True, "The mail server answered the login with 535")
