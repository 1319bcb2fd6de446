"""The rules of the house that a machine can check: who imports whom, where TensorFlow stands, how long files are."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "visionkit"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each part may import these parts of visionkit besides itself. cli/ and __main__, configs/ and tools/ may import
# anything. A folder or a file that is not listed here fails: say first whom it may import.
ANYTHING = {"cli", "__main__"}
ALLOWED = {
    "__init__": set(),
    "types": set(),
    "files": {"types"},
    "npboxes": set(),
    "environment": {"types"},
    "processes": set(),
    "images": {"types", "files"},
    "image_files": {"types"},
    "videos": {"types", "files"},
    "ops": set(),
    "layers": {"ops"},
    "backbones": {"layers"},
    "models": {"types", "ops", "layers"},
    "weights": {"types", "files", "backbones", "models"},
    "html": {"images"},
    "data": {"types", "files", "npboxes", "images", "image_files"},
    "metrics": {"types", "files", "npboxes", "images"},
    "style": {"types", "files", "images", "image_files", "videos", "models"},  # a caller hands it a loaded backbone
    "predict": {"types", "files", "npboxes", "images", "image_files", "videos", "models"},
    "export": {"environment", "processes", "types", "npboxes", "images", "image_files", "models", "predict", "style"},
    "open_model": {"environment", "types", "backbones", "models", "weights", "style", "predict", "export"},
    "evaluate": {"types", "files", "npboxes", "images", "data", "metrics", "predict"},
    "train": {"environment", "types", "files", "images", "models", "data", "evaluate", "predict"},
    "doctor": {"types", "npboxes", "images", "html", "data"},
    "report": {"types", "files", "npboxes", "images", "html", "data", "metrics", "evaluate", "doctor"},
    "recipes": {"types", "backbones", "weights", "models", "data", "train"},  # as files in configs/ do
    "checks": {"types", "files", "environment", "processes", "data", "models", "predict", "evaluate", "train"}
    | {"recipes"},
    "experiments": {"types", "files", "open_model", "models", "data", "metrics", "predict", "evaluate", "train"},
    "bench": {"environment", "types", "files", "image_files", "open_model", "export", "predict"},
    "serve": {"types", "images", "open_model", "predict"},
}


def imports(file: Path):
    """Dotted names that `file` imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_part_imports_only_what_stands_below_it(file):
    name = str(file.relative_to(PACKAGE))
    part = name.split("/")[0].removesuffix(".py")
    if part in ANYTHING:
        return
    assert part in ALLOWED, f"{name}: a part of the house that ALLOWED does not know; say whom it may import"
    used = {parts[1] for parts in (name.split(".") for name in imports(file)) if parts[0] == "visionkit" and parts[1:]}
    assert used - {part, "__version__"} <= ALLOWED[part], f"{name} may not import these"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_tensorflow_and_torch_stay_outside(file):
    name = str(file.relative_to(PACKAGE))
    roots = {found.split(".")[0] for found in imports(file)}
    assert "torch" not in roots
    if not name.startswith("export/") and name != "train/devices.py":  # copies on devices are TensorFlow's own way
        assert "tensorflow" not in roots


@pytest.mark.parametrize("part", ["ops", "layers", "backbones", "models"])
def test_graph_code_knows_keras_and_numpy_only(part):
    allowed = {"keras", "numpy", "visionkit", *sys.stdlib_module_names}
    for file in (PACKAGE / part).rglob("*.py"):
        assert {found.split(".")[0] for found in imports(file)} <= allowed, file


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_are_short(file):
    assert len(file.read_text().splitlines()) <= 400


def test_importing_visionkit_is_silent_and_loads_no_framework():
    code = (
        "import sys, visionkit, visionkit.cli; print(sorted({'tensorflow', 'keras', 'jax', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_files_that_are_named_exist():
    """In code, help and documentation: a reader follows them. X stands for any."""
    texts = [
        *FILES,
        ROOT / "README.md",
        *(f for part in ("configs", "tools", "docs") for f in (ROOT / part).glob("*.*")),
    ]
    found = {}
    for file in texts:
        if file.suffix in (".py", ".md"):
            found |= dict.fromkeys(
                re.findall(r"\b(?:configs|tools|docs)/\w+\.(?:py|md)\b", file.read_text()), file.name
            )
    assert len(found) > 40
    assert {name: file for name, file in found.items() if not (ROOT / name).exists()} == {"configs/X.py": "runs.py"}
