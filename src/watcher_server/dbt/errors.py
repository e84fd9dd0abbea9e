"""What can be wrong with an upload."""

from watcher_server.kit.errors import InvalidFieldError


class UploadError(InvalidFieldError):
    """A file of the upload cannot be applied, so none of them is.

    Args:
        file: the name of the file, or of the field.
        message: what is wrong with it.
    """
