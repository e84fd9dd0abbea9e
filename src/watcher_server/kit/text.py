"""Characters that steer a terminal, break a line, change the direction of text, are invisible, or cannot be encoded."""

import re

# The categories Cc, Zl, Zp and Cs, and of Cf all but the signs that are seen (of Arabic, Syriac and Kaithi numbers) and
# the two joiners, which stand between letters of many scripts and within emoji.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    r"\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
# A joiner after an ASCII letter joins nothing, and makes two names that look alike.
_find_control = re.compile(rf"[{_CONTROLS}]|(?<![^\x00-\x7f])[\u200c\u200d]").search
_replace_controls = re.compile(f"[{_CONTROLS}]").sub
_replace_all_but_layout = re.compile(rf"(?![\n\t])[{_CONTROLS}]").sub


def check_no_controls(name: str) -> str:
    """The name, which can be shown anywhere.

    Raises:
        ValueError: it contains a control character, a line separator, a mark that changes the direction of text, or a
            character that nobody sees.
    """
    if _find_control(name):
        raise ValueError(
            "must not contain control characters, line separators, marks of text direction or invisible characters"
        )
    return name


def escape_controls(text: str, *, keep_layout: bool = False) -> str:
    r"""The text with its control characters as escapes such as ``\x1b``, safe for a terminal.

    ``keep_layout`` leaves ends of lines and tabs alone.
    """
    replace = _replace_all_but_layout if keep_layout else _replace_controls
    return replace(lambda found: found[0].encode("unicode_escape").decode(), text)


def plural(count: int, thing: str) -> str:
    """``1 run``, ``2,000 runs``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
