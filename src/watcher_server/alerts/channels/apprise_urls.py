"""One of the hundred other services, by a URL of Apprise. It is an extra, and off until WATCHER_APPRISE is true.

Apprise resolves names by itself, so the address that was judged is not certainly the one that it dials: only
administrators may make such a channel.
"""

from importlib import import_module
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.dialling import ForbiddenAddressError, resolve
from watcher_server.alerts.channels.snapshot import Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

_TYPES = {"INFO": "info", "WARNING": "warning", "ERROR": "failure", "CRITICAL": "failure", "RESOLVED": "success"}
# These write to the machine that they run on.
_LOCAL = frozenset({
    "dbus", "gio", "glib", "gnome", "gtk", "kde", "macosx", "qt", "rsyslog", "syslog", "windows"
})  # fmt: skip


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Have Apprise send the text. It says only whether that worked."""
    if not settings.apprise:
        return Outcome(error="Channels of the type apprise are off: set WATCHER_APPRISE=true")
    try:
        service = _find_service(account, settings)
    except ImportError:
        return Outcome(error="Apprise is not installed: pip install 'watcher-server[apprise]'")
    except ForbiddenAddressError as error:
        return Outcome(error=str(error))
    if service is None:
        return Outcome(error="Apprise knows no such URL", gone=True)
    title = f"{snapshot.level} {snapshot.title}"
    if service.notify(body=snapshot.text, title=title, notify_type=_TYPES[snapshot.level]):
        return Outcome(sent_to="apprise")
    return Outcome(error="Apprise could not deliver it", perhaps_sent=True)


def _find_service(account: Account, settings: Settings) -> Any:
    """The service that the URL names, which follows no redirect; None when Apprise knows none."""
    url = account.text("url")
    if url.partition("://")[0].lower() in _LOCAL:
        return None
    apprise = import_module("apprise")
    asset = apprise.AppriseAsset(secure_logging=True, http_redirects=False, storage_mode="memory")
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is None:
        return None
    # Its URL could ask for them.
    service.redirects = False
    host = getattr(service, "host", None)
    if host and "url" not in account.own:
        resolve(host, getattr(service, "port", None) or 443, settings)
    return service
