"""Every text in visionkit's source as a pattern, so that a line that a page quotes can be found there."""

import ast
import re
from functools import cache

from support.house import python_files

SHORTEST = 12  # letters that a text must have to be taken for a message
SHARE = 0.4  # of a quoted line's letters that the text itself must have; the rest may be what an f-string fills in


@cache
def messages() -> list[tuple[re.Pattern, int]]:
    """A pattern for each text and f-string, and its number of letters; what an f-string fills in may be anything."""
    found = {}
    for file in python_files():
        tree = ast.parse(file.read_text())
        inner = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in inner):
                pattern, letters = _pattern(node)
                if letters >= SHORTEST:
                    found[pattern] = letters
    return [(re.compile(pattern, re.S), letters) for pattern, letters in found.items()]


def _pattern(node: ast.expr) -> tuple[str, int]:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in parts]
    return "".join(".+" if text is None else re.escape(text) for text in texts), _letters("".join(filter(None, texts)))


def _letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)


def is_said(line: str) -> bool:
    """Whether visionkit can print the line: a text in its source is in the line, and makes up enough of it."""
    return any(letters >= SHARE * _letters(line) and pattern.search(line) for pattern, letters in messages())
