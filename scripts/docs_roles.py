"""Griffe extension: what our docstrings write otherwise than the pages' tools expect it."""

import re

from griffe import Extension

ROLE = re.compile(r":(?:class|func|mod|data|meth|attr):`~?([\w.]+)`")
TOGETHER = re.compile(r"^( {4,})(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)


class Docstrings(Extension):
    """Turns references into code, and gives parameters described together an entry each."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = TOGETHER.sub(apart, text)


def apart(match):
    indent, names, text = match.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))
