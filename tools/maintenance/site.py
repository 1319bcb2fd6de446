"""Builds the documentation site in site/ from docs/, the pages of the repository's root and the public API.

Run it by `make docs`. It asks no other server for anything. Pages of the site are Markdown files that read as well in
the repository, so what differs is made here, in build/docs: a page a group of public names, rendered from their
docstrings; and for each file of the repository that a page links to, a page that shows it. Zensical then checks every
link.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")  # of the root; they go into project/
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
FENCE = re.compile(r"^(```.*?^```$)", re.S | re.M)
# The pages of the API: title, what it is about, and its names in the order in which one needs them. The names that no
# page lists are backbones.
API = {
    "predict": (
        "Opening a model, and its results",
        "Everything that `visionkit detect`, `classify` and `segment` do with a model, from Python.",
        "open_predictor Predictor Failure Detections Classification SegmentationMap DataError",
    ),
    "data": (
        "Data",
        "Data sets of any known format, what is wrong with them, and the batches that models learn from.",
        "open_dataset splits arrays Dataset Sample Skeleton batches steps_per_epoch median_frequency Augment doctor "
        "suspects next_photos READERS Reader",
    ),
    "models": (
        "Models",
        "Keras models that take a backbone and a list of classes. All share what `Task` says.",
        "Task Classifier SSD RetinaNet FCOS NanoDet FasterRCNN MaskRCNN KeypointRCNN FCN DeepLabV3 LRASPP UNet MODELS",
    ),
    "backbones": ("Backbones", "Functions that make a network from images to feature maps by their stride.", ""),
    "train": (
        "Training and scoring",
        "What `visionkit finetune`, `train`, `evaluate`, `compare`, `calibrate` and `guarantee` do.",
        "finetune train Recipe Phase Options schedule resume RECIPES evaluate compare calibrate guarantee freeze "
        "load_weights list_models",
    ),
    "share": (
        "Exporting and sharing",
        "Models in the form of other runtimes, and on the Hub.",
        "export EXPORTERS push",
    ),
}


def public_names() -> dict[str, str]:
    """Each public name and the place from which its docstring is read; the package is looked at, not imported."""
    source = (ROOT / "visionkit" / "__init__.py").read_text()
    imported = re.findall(r"^    from (\S+) import (\w+) as (\w+)", source, re.M)
    return {name: f"{module}.{original}" for module, original, name in imported}


def api_pages() -> dict[str, str]:
    """The Markdown of each page of the API, by name. Every public name is on one of them."""
    names = public_names()
    listed = " ".join(group for *_, group in API.values()).split()
    backbones = [name for name in names if name not in listed]
    pages = {}
    for page, (title, about, group) in API.items():
        blocks = [f"# {title}\n\n{about} All names are offered by `import visionkit as vk`.\n"]
        for name in group.split() or backbones:
            blocks.append(f"::: {names[name]}\n    options:\n      heading: vk.{name}\n      toc_label: {name}\n")
        pages[page] = "\n".join(blocks)
    return pages


def staged() -> dict[Path, Path]:
    """Each page of the site that is a file of the repository, and where it goes."""
    pages = {file: BUILD / file.relative_to(ROOT / "docs") for file in (ROOT / "docs").rglob("*") if file.is_file()}
    pages[ROOT / "docs" / "README.md"] = BUILD / "index.md"
    return pages | {ROOT / name: BUILD / "project" / name for name in PAGES}


def stage() -> None:
    """Writes build/docs."""
    shutil.rmtree(BUILD, ignore_errors=True)
    places, shown = staged(), {}
    for source, target in places.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(relinked(source, target, places, shown))
        else:
            shutil.copyfile(source, target)
    for source, target in shown.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        name = source.relative_to(ROOT)
        target.write_text(f"# {name}\n\n````{source.suffix[1:]}\n{source.read_text()}````\n")
    (BUILD / "api").mkdir()
    for name, text in api_pages().items():
        (BUILD / "api" / f"{name}.md").write_text(text)


def relinked(source: Path, target: Path, places: dict[Path, Path], shown: dict[Path, Path]) -> str:
    """The page with links that hold where it goes; files that have no page yet are added to `shown`."""

    def place(link: re.Match) -> str:
        file = Path(os.path.normpath(source.parent / link[1]))
        if file.is_dir():
            raise SystemExit(f"{source.relative_to(ROOT)}: links to the folder {link[1]}; link to a file in it")
        if file not in places and file not in shown:
            shown[file] = BUILD / "source" / f"{file.relative_to(ROOT)}.md"
        return os.path.relpath({**places, **shown}[file], target.parent)

    parts = FENCE.split(source.read_text())
    return "".join(part if part.startswith("```") else LINK.sub(place, part) for part in parts)


def check_navigation() -> None:
    """Every page but those that show a file has its place in the navigation."""

    def pages(items: list) -> list[str]:
        inner = [value for item in items for value in (item.values() if isinstance(item, dict) else [item])]
        return [page for value in inner for page in (pages(value) if isinstance(value, list) else [value])]

    listed = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    there = {str(file.relative_to(BUILD)) for file in BUILD.rglob("*.md")}
    there = {page for page in there if not page.startswith("source/")}
    if missing := sorted(there - set(listed)):
        raise SystemExit(f"zensical.toml: nav lacks {', '.join(missing)}")


def main() -> int:
    stage()
    check_navigation()
    done = subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"], cwd=ROOT)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
