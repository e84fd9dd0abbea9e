"""Switching traces on. While they are off, OpenTelemetry's SDK is not loaded."""

from typing import TYPE_CHECKING, Literal

from watcher_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from watcher_server.telemetry.spans import Tracing

Service = Literal["watcher-api", "watcher-worker"]


def configure_tracing(service: Service, settings: Settings) -> "Tracing | None":
    """The spans of this process; None when WATCHER_TELEMETRY is off. A forked process needs one of its own.

    Raises:
        SettingsError: it is on, and the packages for it are not installed.
    """
    return _load_tracing()(service) if settings.telemetry else None


def require_tracing(settings: Settings) -> None:
    """Raise SettingsError when traces are on, and the packages for them are not installed."""
    if settings.telemetry:
        _load_tracing()


def _load_tracing() -> "type[Tracing]":
    try:
        from watcher_server.telemetry.spans import Tracing  # noqa: PLC0415 - it loads the SDK
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"WATCHER_TELEMETRY is on, but the package {error.name} is not installed: "
            "install Watcher with its extra `telemetry`, or set WATCHER_TELEMETRY=false."
        ) from error
    return Tracing
