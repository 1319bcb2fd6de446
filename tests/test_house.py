"""The rules of the house that a machine can check. What they are for is explained in docs/design.md.

`ALLOWED` in tests/support/house.py says which parts the package has and who imports whom.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.house import (
    ALLOWED,
    ANYTHING,
    EVERYWHERE,
    PACKAGE,
    circle,
    imported_parts,
    imports,
    part_of,
    purpose,
    python_files,
)
from support.paths import ROOT

FILES = python_files()
FUNCTION = 60  # lines of code that a function may have, without its docstring
LONGER = {  # functions that have more, and why each of them is one idea all the same
    ("cli/runs.py", "finetune"): "twenty options, and handing them on",
    ("models/ssd.py", "SSD.__init__"): "the network, layer by layer",
}


def each(files):
    return pytest.mark.parametrize("file", files, ids=lambda file: str(file.relative_to(ROOT)))


def functions(file: Path):
    """Each function of a file, as `Class.name` or `name`, with its lines of code."""
    for parent in ast.walk(ast.parse(file.read_text())):
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
                signature = node.body[0].lineno - node.lineno
                name = f"{parent.name}.{node.name}" if isinstance(parent, ast.ClassDef) else node.name
                yield name, signature + node.end_lineno - first.lineno + 1


def modules() -> dict[str, Path]:
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def test_every_part_is_listed_and_nothing_else():
    parts = {part_of(file) for file in FILES} - ANYTHING
    unknown, gone = sorted(parts - set(ALLOWED)), sorted(set(ALLOWED) - parts)
    assert not unknown, f"add {unknown} to ALLOWED in tests/support/house.py: which parts may they import?"
    assert not gone, f"remove {gone} from ALLOWED in tests/support/house.py: there are no such parts"


@each(FILES)
def test_a_file_imports_only_the_parts_that_it_may(file):
    part = part_of(file)
    if part not in ANYTHING:
        assert imported_parts(file) <= ALLOWED.get(part, set()) | EVERYWHERE, (
            f"ALLOWED does not let {part} import these: move the code to a part that may, hand the object in, or "
            "let it in tests/support/house.py (docs/design.md has the directions)"
        )


@pytest.mark.parametrize("part", ALLOWED)
def test_no_part_may_import_more_than_it_does(part):
    used = set().union(*(imported_parts(file) for file in FILES if part_of(file) == part))
    assert ALLOWED[part] <= used, f"{part} does not import these: remove them from its line in ALLOWED"


def test_parts_do_not_import_each_other_in_a_circle():
    assert circle(ALLOWED) == []


def test_files_do_not_import_each_other_in_a_circle():
    """Packages' __init__ files are left out: EXPORTERS names its exporters, and what loads an export looks it up."""
    known = modules()
    graph = {
        name: {found for found in (_module(imported, known) for imported in imports(file)) if found} - {name}
        for name, file in known.items()
        if file.name != "__init__.py"
    }
    assert circle(graph) == []


def _module(imported: str, known: dict[str, Path]) -> str:
    """The file that `visionkit.images.read_image` is imported from: `visionkit.images`; "" for other packages."""
    while imported and imported not in known:
        imported = imported.rpartition(".")[0]
    return imported


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"a"}}) == ["a", "b", "d", "a"]


@each(FILES)
def test_tensorflow_and_torch_stay_outside(file):
    roots = {name.split(".")[0] for name in imports(file)}
    assert "torch" not in roots
    # Exporting needs TensorFlow, and so does Keras' way to train on several devices with it.
    if part_of(file) != "export" and file != PACKAGE / "train" / "devices.py":
        assert "tensorflow" not in roots


@pytest.mark.parametrize("part", ["ops", "layers", "backbones", "models"])
def test_graph_code_knows_keras_and_numpy_only(part):
    known = {"keras", "numpy", "visionkit", *sys.stdlib_module_names}
    for file in (PACKAGE / part).rglob("*.py"):
        assert {name.split(".")[0] for name in imports(file)} <= known, file


@each(FILES)
def test_files_are_short(file):
    assert len(file.read_text().splitlines()) <= 400


@each(FILES)
def test_functions_are_short(file):
    long = {name for name, lines in functions(file) if lines > FUNCTION}
    allowed = {name for where, name in LONGER if PACKAGE / where == file}
    assert long <= allowed, f"more than {FUNCTION} lines: split by idea, or say in LONGER why it is one"
    assert allowed <= long, "no longer too long: remove them from LONGER"


def test_golden_files_are_small():
    files = [file for file in (ROOT / "tests" / "golden").rglob("*") if file.is_file()]
    assert {file.name for file in files if file.stat().st_size > 50_000} == set()


@each(sorted((ROOT / "tests").rglob("*.py")))
def test_tests_share_code_through_support_alone(file):
    others = {path.stem for path in (ROOT / "tests").iterdir()} - {"support"}
    roots = {name.split(".")[0] for name in imports(file)}
    assert not roots & others, "move what tests share to tests/support/"


@pytest.mark.parametrize("part", [*ALLOWED, "cli"])
def test_every_part_says_in_one_sentence_what_it_is_for(part):
    assert 10 < len(purpose(part)) <= 120


def test_the_map_in_the_design_page_is_up_to_date():
    sys.path.insert(0, str(ROOT / "tools" / "maintenance"))
    import floors

    advice = "run: python tools/maintenance/floors.py"
    assert floors.PICTURE.read_text() == floors.picture(), advice
    text = floors.PAGE.read_text()
    assert floors.table() in text, advice


def test_importing_visionkit_is_silent_and_loads_no_framework():
    code = (
        "import sys, visionkit, visionkit.cli; print(sorted({'tensorflow', 'keras', 'jax', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


FOLDERS = ("visionkit", "configs", "tools", "tests", "docs")
TEXTS = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.*")) if file.suffix in (".py", ".md")]
TEXTS += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]  # the changelog names what is gone
# Names of files in prose, help and comments.
PATHS = re.compile(r"(?<![\w./-])(?:configs|docs|tests|tools|visionkit)(?:/\w+)+\.(?:md|npz|py|svg)\b")
PLACEHOLDERS = {"X", "NAME", "foo", "test_foo"}  # names that stand for any file, or for one that somebody may add


@each(TEXTS)
def test_files_that_are_named_exist(file):
    """In code, help and documentation alike, since readers follow them."""
    named = {name for name in PATHS.findall(file.read_text()) if Path(name).stem not in PLACEHOLDERS}
    assert {name for name in named if not (ROOT / name).exists()} == set()


@each(TEXTS)
def test_modules_that_are_named_exist(file):
    """`visionkit.resizing.fit`: a module, or a name that stands in one."""
    known = modules()
    for name in re.findall(r"`(visionkit(?:\.\w+)+)`", file.read_text()):
        module = _module(name, known)
        inside = name.removeprefix(module).strip(".").partition(".")[0]
        assert name == "visionkit.json" or re.search(rf"\b{inside}\b", known[module].read_text()), name


def test_the_tables_that_contributing_names_exist():
    """`BACKBONES` (`visionkit/backbones/__init__.py`): a name in capitals is assigned in the tree, in that file if
    one is given.
    """
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([A-Z][A-Z_]{3,})`(?:\s+(?:\(|of\s+|in\s+)`([\w/]+\.py)`)?", text)
    assert len(named) > 5
    for name, where in named:
        files = [ROOT / where] if where else [path for path in TEXTS if path.suffix == ".py"]
        assert any(re.search(rf"^{name}\b.*=", file.read_text(), re.M) for file in files), f"{name} {where}"
