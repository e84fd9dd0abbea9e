"""The form of a channel: a few fields for each type, and what is typed into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.kit.errors import InvalidFieldError

STORED = "stored"


@dataclass(frozen=True)
class Field:
    """A field of the form; ``name`` is what the file calls it. Of several values each has a line."""

    name: str
    label: str
    kind: Literal["secret", "secrets", "text", "lines", "pairs", "choice"] = "text"
    options: Sequence[str] = ()
    hint: str = ""


@dataclass(frozen=True)
class Type:
    """A type of channel as people call it, and what it needs."""

    label: str
    fields: Sequence[Field]


TYPES: Mapping[str, Type] = {
    "slack": Type(
        "Slack",
        (
            Field("url", "Webhook URL", "secret", hint="or, as an app, the two below"),
            Field("token", "Bot token", "secret"),
            Field("channel", "Id of the channel", hint="such as C0123456"),
        ),
    ),
    "teams": Type("Microsoft Teams", (Field("url", "URL of the workflow", "secret"),)),
    "discord": Type("Discord", (Field("url", "Webhook URL", "secret"),)),
    "email": Type(
        "E-mail",
        (
            Field("host", "SMTP server"),
            Field("port", "Port", hint="587 without one"),
            Field("security", "Encryption", "choice", ("starttls", "tls", "none")),
            Field("username", "User name"),
            Field("password", "Password", "secret"),
            Field("from", "From"),
            Field("to", "To", "lines", hint="one address a line"),
        ),
    ),
    "pagerduty": Type(
        "PagerDuty",
        (
            Field("routing_key", "Integration key", "secret", hint="of an Events API v2 integration"),
            Field("region", "Region", "choice", ("us", "eu")),
        ),
    ),
    "webhook": Type(
        "Webhook",
        (
            Field("url", "URL", "secret"),
            Field("signing_keys", "Signing keys", "secrets", hint="one a line, two at most"),
        ),
    ),
    "alertmanager": Type(
        "Alertmanager",
        (
            Field("url", "URL", "secret"),
            Field("username", "User name"),
            Field("password", "Password", "secret"),
            Field("labels", "Labels", "pairs", hint="name=value, one a line"),
        ),
    ),
    "apprise": Type("Apprise", (Field("url", "Apprise URL", "secret"),)),
}

_given: TypeAdapter[GivenChannel] = TypeAdapter(GivenChannel)


def fields_of(type_: str) -> Sequence[Field]:
    """The fields of a type, in the order of the form."""
    return (*TYPES[type_].fields, Field("cap", "At most", hint="such as 20/10m; empty for no cap"))


def read_typed(type_: str, typed: Mapping[str, str]) -> GivenChannel:
    """The channel that was typed in.

    Raises:
        InvalidFieldError: a field is wrong; the message says which by its label.
    """
    spec = {field.name: value for field in fields_of(type_) if (value := _read(field, typed.get(field.name, "")))}
    try:
        return _given.validate_python({"type": type_, **spec})
    except ValidationError as error:
        first = error.errors()[0]
        name = next((str(part) for part in first["loc"] if part in {field.name for field in fields_of(type_)}), "")
        field = next((field for field in fields_of(type_) if field.name == name), Field(name, "The channel"))
        said = f"{field.label}: {first['msg'].removeprefix('Value error, ')}"
        if first["type"] == "missing":
            said = f"{field.label} {'are' if field.kind == 'secrets' else 'is'} missing"
        raise InvalidFieldError(name, said) from None


def _read(field: Field, typed: str) -> Any:
    lines = [line.strip() for line in typed.splitlines() if line.strip()]
    match field.kind:
        case "secret":
            return _read_secret(lines[0]) if lines else None
        case "secrets":
            return {"stored": True} if lines == [STORED] else [_read_secret(line) for line in lines]
        case "lines":
            return lines
        case "pairs":
            return {name.strip(): text.strip() for name, _, text in (line.partition("=") for line in lines)}
    value = typed.strip()
    return int(value) if field.name == "port" and value.isdecimal() and len(value) < 6 else value  # noqa: PLR2004 - a port


def _read_secret(typed: str) -> Any:
    if typed == STORED:
        return {"stored": True}
    source, _, name = typed.partition(":")
    # URLs have a scheme too, but none of these.
    return {source: name.strip()} if source in {"env", "file"} else typed


def show_typed(type_: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """The fields as they stand in the form for a stored channel."""
    return {field.name: _show(field, spec[field.name]) for field in fields_of(type_) if field.name in spec}


def _show(field: Field, value: Any) -> str:
    if field.kind == "pairs":
        return "\n".join(f"{name}={text}" for name, text in value.items())
    values = value if isinstance(value, list) else [value]
    return "\n".join(_show_secret(each) if isinstance(each, dict) else str(each) for each in values)


def _show_secret(secret: Mapping[str, Any]) -> str:
    ((source, name),) = secret.items()
    return STORED if source == "stored" else f"{source}:{name}"


def without_secrets(type_: str, typed: Mapping[str, str]) -> dict[str, str]:
    """What was typed, to be shown again: no secret itself, only where it is."""
    kinds = {field.name: field.kind for field in fields_of(type_)}
    return {name: _blank(value) if kinds.get(name) in {"secret", "secrets"} else value for name, value in typed.items()}


def _blank(typed: str) -> str:
    lines = (line.strip() for line in typed.splitlines())
    return "\n".join(line for line in lines if line == STORED or line.startswith(("env:", "file:")))
