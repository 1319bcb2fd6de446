"""What the docstrings of the public API lack: read from the source, so that no framework is loaded."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.paths import ROOT

IMPORTED = re.compile(r"^    from (\S+) import (\w+) as (\w+)", re.M)
OF_KERAS = {"self", "cls", "x", "y", "y_pred", "sample_weight", "training", "name"}  # arguments that Keras describes
ELSEWHERE = re.compile(r"\bSee `|^As in Keras|see the subclass|: see `|, see `serving`")  # where the rest is said
SHAPE = re.compile(r"`\[[^]`]*\]`|\(height, width\)|\(H, W")
ARRAY = re.compile(r"ndarray|Tensor")
# arXiv, Name et al. 2010, Name and Name 1986, or "The paper's", with the paper in the module's first lines.
SOURCE = re.compile(r"arXiv|\bet al\. (19|20)\d\d|\b[A-Z]\w+ (19|20)\d\d|Everingham")
HAVE_SOURCES = ("visionkit/models", "visionkit/backbones", "visionkit/ops")
PROPERTIES = {"property", "cached_property", "functools.cached_property"}


class Place(NamedTuple):
    """A function or a class, and where it is defined."""

    file: Path
    node: ast.FunctionDef | ast.ClassDef

    @property
    def text(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def around(self) -> str:
        """What the file's first lines say for all of its functions."""
        return ast.get_docstring(ast.parse(self.file.read_text())) or ""


def place(name: str, module: str) -> Place | None:
    """Where a module, or one that it imports from, defines a function or class; None for constants."""
    folder = ROOT / module.replace(".", "/")
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return Place(file, node)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return place(alias.name, node.module or "")
    return None


def public() -> dict[str, Place]:
    """The functions and classes that `visionkit` offers, by their public names."""
    imported = IMPORTED.findall((ROOT / "visionkit" / "__init__.py").read_text())
    found = {name: place(original, module) for module, original, name in imported}
    return {name: found for name, found in found.items() if found}


def maths() -> dict[str, Place]:
    """Box maths and losses: not public, but what contributors call."""
    found = {}
    for file in [ROOT / "visionkit" / "npboxes.py", *sorted((ROOT / "visionkit" / "ops").glob("*.py"))]:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found[f"{file.stem}.{node.name}"] = Place(file, node)
    return found


def lacks(name: str, found: Place, first_lines: bool = False) -> list[str]:
    """One line for each thing that the docstrings of a function, or of a class and its methods, leave out.

    Args:
        name: as the lines call it.
        found: where it is.
        first_lines: whether the file's first lines describe the arguments and results of all functions in it.
    """
    around = found.around if first_lines else ""
    missing = list(_source(name, found))
    if isinstance(found.node, ast.FunctionDef):
        elsewhere = [] if first_lines else re.findall(r"\b[Ss]ee `(\w+)`", found.text)
        missing += [f"{name}: refers to {other}, which is not public" for other in elsewhere if other not in public()]
        return missing + list(_function(name, found.node, found.text, around))
    inherited = {method.name for method in _methods(place("Task", "visionkit.models.task"))}
    for method in _methods(found):
        own = ast.get_docstring(method) or ""
        if method.name == "__init__":  # is described by its class
            missing += [*_arguments(f"{name}()", method, found.text), *_errors(f"{name}()", method, found.text)]
        elif own or method.name not in inherited:
            missing += _function(f"{name}.{method.name}", method, own, "")
    return missing if found.text else [f"{name}: has no docstring", *missing]


def _methods(found: Place | None) -> list[ast.FunctionDef]:
    """Its constructor and its public methods, without overloads and what only Keras calls."""
    methods = [node for node in found.node.body if isinstance(node, ast.FunctionDef)] if found else []
    public = [node for node in methods if not node.name.startswith("_") or node.name in ("__init__", "__call__")]
    public = [node for node in public if node.name not in ("get_config", "from_config")]
    return [node for node in public if "overload" not in _decorators(node)]


def _decorators(node: ast.FunctionDef) -> set[str]:
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def _source(name: str, found: Place) -> Iterator[str]:
    parts = found.file.relative_to(ROOT).parts
    has_one = "/".join(parts[:2]) in HAVE_SOURCES and parts[-1] not in ("task.py", "blocks.py")  # these are no networks
    if has_one and not SOURCE.search(found.text + found.around):
        yield f"{name}: names no paper, nor do the first lines of {found.file.name}"


def _function(name: str, node: ast.FunctionDef, text: str, around: str) -> Iterator[str]:
    if not text:
        yield f"{name}: has no docstring"
        return
    if node.name == "compute_loss":  # its arguments and its result are Keras'
        return
    yield from _arguments(name, node, text + around)
    yield from _errors(name, node, text)
    if not _decorators(node) & PROPERTIES:
        yield from _result(name, node, text, around)


def _arguments(name: str, node: ast.FunctionDef, text: str) -> Iterator[str]:
    arguments = [a for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs if a.arg not in OF_KERAS]
    missing = [a.arg for a in arguments if not re.search(rf"\b{a.arg}\b", text)]
    if missing and not ELSEWHERE.search(text):
        yield f"{name}: does not say what {', '.join(missing)} is"
    arrays = [a.arg for a in arguments if a.annotation and ARRAY.search(ast.unparse(a.annotation))]
    if arrays and not SHAPE.search(text) and not ELSEWHERE.search(text):
        yield f"{name}: does not give the shape of {', '.join(arrays)}"


def _errors(name: str, node: ast.FunctionDef, text: str) -> Iterator[str]:
    raised = [raising.exc for raising in ast.walk(node) if isinstance(raising, ast.Raise)]
    names = {ast.unparse(error.func) for error in raised if isinstance(error, ast.Call)}
    for error in sorted(names - {"NotImplementedError"}):
        if not re.search(rf"Raises:.*\b{error}\b", text, re.S):
            yield f"{name}: does not say when it raises {error}"


def _result(name: str, node: ast.FunctionDef, text: str, around: str) -> Iterator[str]:
    result = ast.unparse(node.returns) if node.returns else "None"
    if result == "None" or ELSEWHERE.search(text):
        return
    told = re.search(r"Returns:|Yields:|^Returns ", text) or "->" in text.partition("Args:")[0]
    if not told and "returns" not in around:
        yield f"{name}: does not say what it returns, {result}"
    elif ARRAY.search(result) and not re.search(SHAPE.pattern + "|scalar", text + around):
        yield f"{name}: does not give the shape of what it returns"
