"""Models on the Hugging Face Hub, against a hub of the tests' own on this machine."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import yaml
from huggingface_hub import constants
from PIL import Image
from support.command_line import visionkit
from support.detections import found, sample
from support.fake_hub import Repo, running
from support.models import BUILD
from support.paths import ROOT

import visionkit as vk
from visionkit import limits
from visionkit.files import sha256_of
from visionkit.guarantee.make import make_promise
from visionkit.guarantee.stored import fingerprint_of
from visionkit.hub.address import Address, is_address, parse
from visionkit.hub.card import is_unchanged
from visionkit.open_model import content_digest, keras_path, open_task

REPO = "someone/animals"
SECRETS = ("/home/alice", "alice")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # read from HF_ENDPOINT when the library is loaded
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("VISIONKIT_OFFLINE", "0")
        yield hub


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, as finetune leaves it, with much that must not travel."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    BUILD["ssd"]().save(folder / "model.keras")
    per_class = {"cat": {"mAP50": 0.5, "objects": 200}, "dog": {"mAP50": 0.25, "objects": 3}}
    results = {
        **{"mAP": 0.25, "mAP50": 0.5, "mAP75": -1, "mAP_small": 0.01, "mAP_large": 0.4},
        **{"images": 12, "train_images": 34, "val_images": 12, "seconds": 61.0, "task": "detect"},
        "knobs": {"data": "/home/alice/zoo", "start": "/home/alice/runs/old", "lr": 0.001, "map": ["a/b"]}
        | {"learning": {"clip": 1.0}},
        **{"verdict": "overfitting", "class_names": ["cat", "dog", "cow"], "per_class": per_class},
        "environment": {"versions": {"keras": "3.15.1"}, "machine": "Linux x86_64, 2 cores"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "test.json").write_text(json.dumps({"mAP50": 0.75, "images": 56}))
    for name in ("recipe.py", "knobs.json", "resume.json", "history.csv"):
        (folder / name).write_text("/home/alice")
    (folder / "checkpoints").mkdir()
    return folder


def same(a, b):
    return len(a) > 0 and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels")
    )


def test_what_is_pushed_is_what_is_opened(hub, run, image):
    address = vk.push(run, REPO)
    files = list(hub.repos[REPO].commits.values())[-1]
    assert set(files) == {".gitattributes", "model.keras", "results.json", "README.md"}
    assert hub.repos[REPO].private
    assert address == f"hf://{REPO}@{list(hub.repos[REPO].commits)[-1]}"
    assert same(vk.open_predictor(f"hf://{REPO}")(image, score=0.0), vk.open_predictor(run)(image, score=0.0))
    assert keras_path(address) == keras_path(f"hf://{REPO}@main") == keras_path(f"hf://{REPO}")
    assert hub.fetched() == {"model.keras", "README.md"}  # README.md: push looks whether somebody has edited it
    assert not any(word in content.decode("latin1") for content in files.values() for word in SECRETS)


def test_the_card_says_what_the_run_knows(hub, run):
    vk.push(run, REPO, licence="MIT")
    files = list(hub.repos[REPO].commits.values())[-1]
    card = files["README.md"].decode()
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "visionkit",
        "pipeline_tag": "object-detection",
        "license": "mit",
        "tags": ["visionkit", "keras", "ssd"],
    }
    for line in (
        "# animals",
        f'predictor = vk.open_predictor("hf://{REPO}")',
        "3 classes: `cat`, `dog`, `cow`",
        "|  | validation (12 images) | test (56 images) |",
        "| mAP50 | 0.500 | 0.750 |",
        "| `dog` | 0.250 | 3 |",
        "Learned from 34 images of the data set `zoo`, with 12 held back for validation, in 1.0 minutes.",
        "| start | `old` |",
        "| learning.clip | `1.0` |",
        "- Fewer than 20 validation examples, so that their scores say little: `dog`.",
        "- It finds small objects much worse than large ones (mAP 0.010 and 0.400).",
        "- What its learning curves show: overfitting.",
        "The weights: `MIT`; they began as `old`.",
    ):
        assert f"\n{line}" in text, line
    assert "mAP75" not in text  # -1: there was nothing to measure against
    results = json.loads(files["results.json"])
    assert results["knobs"] == {"data": "zoo", "start": "old", "lr": 0.001, "map": ["b"], "learning": {"clip": 1.0}}
    assert results["test"] == {"mAP50": 0.75, "images": 56}
    assert vk.open_predictor(f"hf://{REPO}").model.licence == "MIT"


def test_names_of_classes_are_only_text_in_a_card(hub):
    names = ["`</code><script>alert(1)</script>", "a|b\n# c", "[x](http://example.com)"]
    model = vk.Classifier(vk.lenet(input_shape=(32, 32, 3)), 3, image_size=(32, 32), class_names=names)
    own = model.licence
    vk.push(model, REPO, private=False, licence="LicenseRef-Mine")
    assert model.licence == own and not hub.repos[REPO].private
    files = list(hub.repos[REPO].commits.values())[-1]
    assert set(files) == {".gitattributes", "model.keras", "README.md"}  # a model in memory has no results
    card = files["README.md"].decode()
    assert "3 classes: `'</code><script>alert(1)</script>`, `a/b\\n# c`, `[x](http://example.com)`\n" in card
    assert "license: other\nlicense_name: LicenseRef-Mine\n" in card
    assert "## Scores\n\nNot measured" in card


def test_the_card_says_what_is_promised_and_names_no_path(hub, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)

    def card():
        vk.push(folder, REPO)
        return list(hub.repos[REPO].commits.values())[-1]["README.md"].decode()

    assert "## Promises\n\n```text\nIts scores are not calibrated.\nIt comes with no guarantee.\n```\n" in card()
    pairs = [(sample([[0, 0, 9, 9]], [0]), found([[0, 0, 9, 9]], [0.5], [0])) for _ in range(20)]
    promise = make_promise(pairs, ["```\n# cat", "dog"], 0.1, per_class=True)
    replace(promise, source="/home/alice/zoo", model=fingerprint_of(folder)).save(folder)
    text = card()
    assert "\nPromised: on average at most 10% of an image's objects of a class are missed (" in text
    assert r" Thresholds: '''\n# cat 0.500, dog 0.000." in text
    assert not any(word in text for word in SECRETS)
    (folder / "guarantee.json").write_text("{}")
    text = card()
    assert "\nIts guarantee.json does not belong to this model: the guarantee has to be made again.\n" in text
    assert not any(word in text for word in SECRETS)


def test_a_card_that_was_edited_is_kept(hub, run, capsys):
    vk.push(run, REPO)
    vk.push(run, REPO, message="again")
    repo = hub.repos[REPO]
    assert is_unchanged(list(repo.commits.values())[-1]["README.md"].decode())
    assert capsys.readouterr().out == ""
    repo.commit({"README.md": b"# by hand"})
    vk.push(run, REPO)
    assert list(repo.commits.values())[-1]["README.md"] == b"# by hand"
    assert f"hf://{REPO}: README.md was edited on the Hub and is kept" in capsys.readouterr().out


def test_verbs_take_an_address(hub, run, image, tmp_path):
    vk.push(run, REPO)
    Image.fromarray(image).save(tmp_path / "a.png")
    words = ["detect", f"hf://{REPO}", "a.png", "--out", "found", "--score", "0", "--format", "csv"]
    done = visionkit(words, tmp_path)
    assert done.returncode == 0 and "1 images done, 0 not read" in done.stdout, done.stderr
    assert "(1 of them earlier)" in visionkit(words, tmp_path).stdout
    hub.repos[REPO].commit({"model.keras": list(hub.repos[REPO].commits.values())[-1]["model.keras"]})
    assert "(1 of them earlier)" in visionkit(words, tmp_path).stdout  # another commit with the same weights
    assert type(open_task(f"hf://{REPO}")) is vk.SSD  # for finetune --from
    assert len(content_digest(f"hf://{REPO}")) == 16


def test_an_address_may_have_a_fast_form(hub, run, monkeypatch):
    vk.push(run, REPO)
    asked = []
    monkeypatch.setattr("visionkit.fast.model.fast_model", lambda **options: asked.append(options["source"]()))
    assert vk.open_predictor(f"hf://{REPO}", runtime="auto").runtime == "keras"
    assert asked[0].digest == sha256_of(keras_path(f"hf://{REPO}"))
    assert asked[0].beside is None  # the copy in the library's cache gets no folder of ours


def test_offline_the_cache_is_used(hub, run, monkeypatch, tmp_path):
    vk.push(run, REPO)
    fetched = keras_path(f"hf://{REPO}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert keras_path(f"hf://{REPO}") == fetched and zipfile.is_zipfile(fetched)
    with pytest.raises(vk.DataError, match=r"other: not in the cache \(offline: the network was not tried"):
        vk.open_predictor("hf://someone/other")
    with pytest.raises(vk.DataError, match="hf://someone/animals: cannot be pushed offline"):
        vk.push(run, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    done = visionkit(["--offline", "detect", "hf://someone/other", "a.png", "--out", "found"], tmp_path)
    assert done.stderr.startswith("visionkit: error: hf://someone/other: not in the cache (offline")
    assert hub.asked == []


def test_what_may_not_be_read_is_said_in_one_line(hub, run, monkeypatch):
    vk.push(run, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    cases = {
        f"hf://{REPO}": f"there is no such repository, or it is private and this token may not read it: {log_in}",
        "hf://someone/else": f"there is no such repository, or it is private and this token may not read it: {log_in}",
    }
    hub.repos["someone/open"] = Repo(False)
    hub.repos["someone/open"].commit({"weights.bin": b""})
    cases["hf://someone/open"] = "holds no model.keras; visionkit opens models that vk.push wrote"
    cases["hf://someone/open@v2"] = "the repository has no such branch, tag or commit"
    for address, text in cases.items():
        with pytest.raises(vk.DataError) as caught:
            vk.open_predictor(address)
        assert str(caught.value) == f"{address}: {text}"
    with pytest.raises(vk.DataError, match=r"^hf://someone/animals: the Hub answered 401: .*; log in with"):
        vk.push(run, REPO)


def test_a_hub_that_does_not_answer_is_said_in_one_line(hub, run, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(vk.DataError) as caught:
        vk.push(run, REPO)
    assert str(caught.value).startswith(f"hf://{REPO}: ") and "\n" not in str(caught.value)


BAD_NAMES = (
    *("hf://", "hf://name", "hf://a/b/c", "hf://../b", "hf://a/..", "hf://a/../../c", "hf://a/.b", "hf:///a/b"),
    *("hf://a/b@", "hf://a/b@../../x", "hf://a/b@/etc", "hf://a/b@x/../y", "hf://a/b@x/", "hf://a/b?x", "hf://a b/c"),
    *("hf://a/b@m n", "hf://ä/b", "hf://a/b\n", f"hf://a/{'b' * 97}"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_lead_elsewhere_are_refused(name):
    with pytest.raises(vk.DataError, match="expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION"):
        parse(name)


def test_addresses_are_read_as_they_are_written():
    assert parse("hf://a/b-c.d_1") == parse("a/b-c.d_1") == parse("hf:/a/b-c.d_1") == Address("a/b-c.d_1")
    assert str(parse("hf://a/b@refs/pr/1")) == "hf://a/b@refs/pr/1"
    assert is_address("hf://a/b") and not is_address("runs/first") and not is_address("hf")


def edited(data: bytes, change) -> bytes:
    """The bytes of a .keras file with another config.json, and a member whose name leads out of the folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name == "config.json" else content)
        new.writestr("../../../../evil.txt", "evil")
    return out.getvalue()


def test_a_hostile_repository_is_refused_in_one_line(hub, run, tmp_path, monkeypatch):
    data = (run / "model.keras").read_bytes()
    evil = tmp_path / "evil"
    program = f"open({str(evil)!r}, 'w').close()".encode()
    extras = {"recipe.py": program, "model.pkl": b"cos\nsystem\n(S'touch evil'\ntR.", "__init__.py": program}
    extras |= {"../../evil": b"", "config.json": b"{}", "pytorch_model.bin": b"\x80\x04", "results.json": b"[" * 10**6}
    repo = hub.repos["bad/one"] = Repo(False)

    def refusal(model: bytes) -> str:
        repo.commit(extras | {"model.keras": model})
        done = visionkit(["detect", "hf://bad/one", "a.png", "--out", "out"], tmp_path)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""
        return done.stderr

    def with_lambda(config: bytes) -> bytes:
        code = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x))
        content = json.loads(config)
        content["config"]["backbone"]["config"]["layers"][1] |= {"class_name": "Lambda", **code}
        return json.dumps(content).encode()

    assert "not a .keras file, which is a zip archive" in refusal(extras["model.pkl"])
    assert "Lambda" in refusal(edited(data, with_lambda))
    monkeypatch.setattr(limits, "CONFIG", 1000)
    assert "config.json has " in refusal(edited(data, lambda config: config + b" " * 2000))
    monkeypatch.undo()  # also the hub's settings, so nothing of this test is asked from here on
    assert hub.fetched() == {"model.keras"}
    assert not evil.exists() and not list(tmp_path.rglob("evil*"))


def test_a_model_above_the_limit_is_not_downloaded(hub, run):
    repo = hub.repos["bad/large"] = Repo(False)
    repo.commit({"model.keras": (run / "model.keras").read_bytes()})
    hub.claims["model.keras"] = 5 * 2**30
    with pytest.raises(vk.DataError) as caught:
        vk.open_predictor("hf://bad/large")
    text = f"its model.keras has {5 * 2**30} bytes, above the limit of {2**32}; --limits 2 would allow it"
    assert str(caught.value) == f"hf://bad/large: {text}"
    assert [method for method, path, _ in hub.asked if "/resolve/" in path] == ["HEAD"]


def test_without_the_library_it_is_said_what_to_install(tmp_path):
    code = "import sys; sys.modules['huggingface_hub'] = None\nfrom visionkit.cli import main\n"
    code += "sys.exit(main(['detect', 'hf://a/b', 'x.png', '--out', 'out']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=None)
    expected = (
        "huggingface_hub is not installed; it comes with visionkit's extra hub: pip install 'keras-visionkit[hub]'"
    )
    assert (done.returncode, done.stderr) == (1, f"visionkit: error: {expected}\n")


def test_the_library_is_loaded_late_and_without_telemetry():
    code = "import sys, visionkit.open_model; print('huggingface_hub' in sys.modules)\n"
    code += "from visionkit.hub.library import hub; hub(); from huggingface_hub import constants as c\n"
    code += "print(c.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\nTrue\n"
