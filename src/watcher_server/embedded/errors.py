"""The one error of the embedded engines."""


class EmbeddedError(Exception):
    """An embedded engine cannot run; the message is one sentence that says what to do."""
