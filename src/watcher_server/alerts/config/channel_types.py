"""What each type of channel needs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)

from watcher_server.alerts.channels.teams import refuse_retired
from watcher_server.alerts.config.fields import CapField, OneOrMany, Secret, Shape, StoredSecret, Text
from watcher_server.kit.text import check_no_controls

MailAddress = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$", max_length=254)
]
Word = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(check_no_controls)
]


def _check_url(url: Secret) -> Secret:
    # Where it is only named, the test of the channel finds what is wrong with it.
    if isinstance(url, SecretStr) and not url.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    return url


def _check_workflow(url: Secret) -> Secret:
    if isinstance(url, SecretStr) and (refusal := refuse_retired(url.get_secret_value())):
        raise ValueError(refusal)
    return url


Url = Annotated[Secret, AfterValidator(_check_url)]


def _as_keys(value: Any) -> Any:
    return [value] if isinstance(value, str) or (isinstance(value, Mapping) and "stored" not in value) else value


SigningKeys = Annotated[
    Annotated[list[Secret], Field(min_length=1, max_length=2), Tag("keys")] | Annotated[StoredSecret, Tag("stored")],
    Discriminator(lambda value: "keys" if isinstance(value, list) else "stored"),
    BeforeValidator(_as_keys),
]


class _Channel(Shape):
    """``cap``: the most messages in a time; what is over it is told in one, and CRITICAL passes."""

    cap: CapField | None = None


class DefaultChannel(_Channel):
    """Slack, where ``WATCHER_SLACK_WEBHOOK_URL`` is set, and else the log."""

    type: Literal["default"] = "default"


class SlackChannel(_Channel):
    """Slack: by the ``url`` of a webhook, or as an app, by its ``token`` into the ``channel`` with this id."""

    type: Literal["slack"]
    url: Url | None = None
    token: Secret | None = None
    channel: Word | None = None

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        as_app = self.token is not None and self.channel is not None
        if (self.url is not None) == as_app or (self.url is not None and (self.token or self.channel)):
            raise ValueError("a Slack channel has either a url, or a token and a channel")
        return self


class TeamsChannel(_Channel):
    """Microsoft Teams, by the ``url`` of a workflow."""

    type: Literal["teams"]
    url: Annotated[Url, AfterValidator(_check_workflow)]


class DiscordChannel(_Channel):
    """Discord, by the ``url`` of a webhook."""

    type: Literal["discord"]
    url: Url


class EmailChannel(_Channel):
    """E-mail by SMTP: ``security`` is starttls, tls (from the first byte, usually port 465) or none."""

    type: Literal["email"]
    host: Word
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Word | None = None
    password: Secret | None = None
    sender: Annotated[MailAddress, Field(alias="from")]
    to: Annotated[list[MailAddress], OneOrMany, Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        return self


class PagerDutyChannel(_Channel):
    """PagerDuty, by the integration key of an Events API v2 service; ``region`` eu for accounts that are there."""

    type: Literal["pagerduty"]
    routing_key: Secret
    region: Literal["us", "eu"] = "us"


class WebhookChannel(_Channel):
    """A webhook as standardwebhooks.com has them; with two ``signing_keys`` both sign, while one replaces the other."""

    type: Literal["webhook"]
    url: Url
    signing_keys: SigningKeys


class AlertmanagerChannel(_Channel):
    """Prometheus' Alertmanager; ``labels`` are added to those of each alert."""

    type: Literal["alertmanager"]
    url: Url
    username: Word | None = None
    password: Secret | None = None
    labels: dict[Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=50)], Text] = Field(
        default_factory=dict, max_length=20
    )


class AppriseChannel(_Channel):
    """One of the services that Apprise knows, by its ``url`` there; for where ``WATCHER_APPRISE`` is true."""

    type: Literal["apprise"]
    url: Secret


# What can be made. The channel of the settings is always there.
GivenChannel = Annotated[
    SlackChannel
    | TeamsChannel
    | DiscordChannel
    | EmailChannel
    | PagerDutyChannel
    | WebhookChannel
    | AlertmanagerChannel
    | AppriseChannel,
    Field(discriminator="type"),
]
Channel = DefaultChannel | GivenChannel
_given: TypeAdapter[GivenChannel] = TypeAdapter(GivenChannel)


def read_channel(spec: Mapping[str, Any]) -> Channel:
    """The channel that a ``spec`` of the table is; without a type that of the settings.

    Raises:
        ValidationError: it is none.
    """
    return DefaultChannel() if spec.get("type", "default") == "default" else _given.validate_python(spec)
