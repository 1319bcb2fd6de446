"""Maintenance: runs the pages of docs/course, slow ones included, and draws their figures into docs/course/figures.

Run: make book, or `python tools/maintenance/book.py 11 16` for some pages. Each page runs in a process of its own, in
an empty folder, with warnings as errors, as in the tests; what it prints is compared with what it shows. The table at
the end has the seconds and the CPU seconds of every page. A page that needs a distribution which is not installed is
left out, and the table says so. The figures that pages quote as measured go into docs/course/measured.json; the tests
compare the pages with it.
"""

import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.figures import MEASURED  # noqa: E402 -- found only now
from support.pages import COURSE, NEEDS, is_slow  # noqa: E402

QUIET = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "VISIONKIT_RUNTIME": "keras",
    "MPLBACKEND": "agg",
}
# The same warnings as in pyproject.toml.
RUN = """
import json, sys, warnings
from pathlib import Path
from support.figures import measured
from support.pages import run
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
warnings.filterwarnings("ignore", ".*___pyct_anno", DeprecationWarning)
page = Path(sys.argv[1])
Path("measured.json").write_text(json.dumps(measured(page, run(page))))
"""


def cpu_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def missing(page: Path) -> str:
    """The distribution that the page needs and that is not installed, or ""."""
    needed = NEEDS.search(page.read_text().partition("\n")[0])
    try:
        if needed:
            importlib.metadata.distribution(needed[1])
    except importlib.metadata.PackageNotFoundError:
        return needed[1]
    return ""


def run_page(page: Path) -> tuple[bool, str]:
    """Whether it succeeded, and its line of the table."""
    if name := missing(page):
        return True, f"{page.name:32} left out: needs {name}"
    start, used = time.monotonic(), cpu_seconds()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", RUN, str(page)], cwd=folder, env=QUIET, check=False)
        shown = [file for file in sorted(Path(folder).iterdir()) if f"(figures/{file.name})" in page.read_text()]
        if done.returncode == 0:
            (page.parent / "figures").mkdir(exist_ok=True)
            for file in shown:
                shutil.copyfile(file, page.parent / "figures" / file.name)
            file_measured(page, json.loads(Path(folder, "measured.json").read_text()))
    seconds = f"{time.monotonic() - start:6.0f} s {cpu_seconds() - used:6.0f} CPU s"
    verdict = "" if done.returncode == 0 else "  FAILED"
    kind = "slow" if is_slow(page) else ""
    return done.returncode == 0, f"{page.name:32} {seconds}  {len(shown)} figures  {kind}{verdict}"


def file_measured(page: Path, values: dict[str, float]) -> None:
    """Puts the page's figures in the place of those that it had before."""
    filed = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    filed[page.name] = {expression: float(f"{value:.6g}") for expression, value in values.items()}
    filed = {page.name: filed[page.name] for page in COURSE if filed.get(page.name)}
    MEASURED.write_text(json.dumps(filed, indent=2) + "\n")


def main() -> None:
    numbers = sys.argv[1:]
    pages = [page for page in COURSE if not numbers or page.name.partition("-")[0] in numbers]
    results = []
    for page in pages:
        results.append(run_page(page))
        print(results[-1][1], flush=True)
    sys.exit(not all(succeeded for succeeded, _ in results))


if __name__ == "__main__":
    main()
