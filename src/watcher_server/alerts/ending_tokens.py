"""Telling of tokens that expire soon, while there is time to replace them."""

from sqlalchemy import Connection

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, minute_text, raise_alert
from watcher_server.auth.service import find_ending_tokens


def warn_of_ending_tokens(connection: Connection) -> None:
    """Raise an alert for each token that expires within 14 days; once, for as long as its end stays the same."""
    for token in find_ending_tokens(connection):
        details = [("Expires", f"{token.expires_at:%Y-%m-%d %H:%M} UTC"), ("Scope", token.scope)]
        details += [("Purpose", token.purpose)] if token.purpose else []
        details.append(("Last used", minute_text(token.last_used_at) if token.last_used_at else "never"))
        rotate = f"`watcher token rotate '{token.name}' --overlap 24h`, and give its programs the new one"
        alert = NewAlert(
            dedupe_key=f"token expires:{token.name}:{token.expires_at:%Y-%m-%dT%H:%M:%S}",
            level=Level.WARNING,
            title="Token Expires Soon",
            message=f"What shows the token '{token.name}' stops working when it expires.",
            details=[*details, ("What to do", rotate)],
        )
        raise_alert(connection, alert)
