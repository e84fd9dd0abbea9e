"""What can be wrong with an upload."""

from watcher_server.kit.errors import InvalidFieldError


class UploadError(InvalidFieldError):
    """A file of the upload cannot be applied, so none of them is; the first argument is its name, or a field's."""
