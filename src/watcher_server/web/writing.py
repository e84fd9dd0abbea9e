"""How templates write a value: escaped as Jinja does it, without a new string where nothing has to be escaped.

A page of hundreds of rows writes some ten thousand values. Most are numbers, what was escaped before, and names without
any character that means something in HTML, and for each markupsafe makes a string of a class of its own.
"""

import re
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup, escape

_find_special = re.compile("[&<>'\"]").search


def write(value: object) -> str:
    """The value as HTML, as ``str(escape(value))`` has it."""
    if type(value) is Markup:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is str and _find_special(value) is None:
        return value
    return escape(value)


class WritingCodeGenerator(CodeGenerator):
    """Has compiled templates call ``environment.write`` where they would call ``escape``."""

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile and finalize.src is None:
            self.write("environment.write(")
        else:
            super()._output_child_pre(node, frame, finalize)
