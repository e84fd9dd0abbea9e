"""Settings whose values are in files: ``WATCHER_DATABASE_URL_FILE=/run/secrets/database-url``.

Docker and Kubernetes mount secrets as files, so that they appear neither in a process list nor in an image.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic_settings import EnvSettingsSource

_SUFFIX = "_FILE"
_LONGEST = 64 * 1024


class SettingsFileError(ValueError):
    """A variable names a file that cannot be used; the message says which variable and why."""


class FileSettingsSource(EnvSettingsSource):
    """Reads each setting that is not in the environment from the file that ``NAME_FILE`` names.

    A line break at the end of the file is not part of the value.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        named = {
            variable.removesuffix(_SUFFIX): path
            for variable, path in os.environ.items()
            if variable.upper().endswith(_SUFFIX) and path
        }
        known = self._known_variables()
        return {variable.lower(): _read(variable, path) for variable, path in named.items() if variable in known}

    def _known_variables(self) -> set[str]:
        return {
            variable.upper()
            for name, field in self.settings_cls.model_fields.items()
            for _, variable, _ in self._extract_field_info(field, name)
        }


def _read(variable: str, path: str) -> str:
    if os.environ.get(variable):
        raise SettingsFileError(f"{variable} and {variable}_FILE are both set: use one of them.")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST + 1)
        value = content.decode()
    except OSError as error:
        raise SettingsFileError(f"{variable}_FILE names {path}, which cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SettingsFileError(f"{variable}_FILE names {path}, which is not text in UTF-8.") from None
    if len(content) > _LONGEST:
        raise SettingsFileError(f"{variable}_FILE names {path}, which is larger than 64 KiB.")
    return value.removesuffix("\n").removesuffix("\r")
