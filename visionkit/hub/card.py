"""The model card: what a run knows about its model, as the README.md of a repository on the Hugging Face Hub."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import visionkit
from visionkit.resizing import crop_share
from visionkit.types import plain

TASKS = {  # the task in words, the Hub's name for it, and the verb that runs it
    "detect": ("object detection", "object-detection", "detect"),
    "instance": ("instance segmentation: boxes with masks", "image-segmentation", "detect"),
    "keypoints": ("keypoint detection: boxes with the keypoints of each object", "keypoint-detection", "detect"),
    "classify": ("image classification", "image-classification", "classify"),
    "segment": ("semantic segmentation: a class for each pixel", "image-segmentation", "segment"),
    "style": ("style transfer", "image-to-image", "stylize"),
}
LICENCES = {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "unknown"}
SCORES = (
    *("mAP50", "mAP", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "mask_mAP50", "mask_mAP"),
    *("keypoint_mAP50", "keypoint_mAP"),
    *("top1", "top5", "mIoU", "pixel_accuracy", "mean_accuracy", "boundary_f1"),
)
MOST = 100  # classes of which the scores are shown
FEW = 20  # objects or images of a class by which no score can be told
_MARK = re.compile(r"\n<!-- visionkit wrote this page; ([0-9a-f]{16}) -->\n\Z")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a card is written from.

    Args:
        address: hf://OWNER/NAME.
        model: a Task.
        results: of results.json, without paths, with the scores on the test split as `test`; {} if there is no run.
        promises: whether the scores are calibrated, and what is promised about the model, a line each.
    """

    address: str
    model: Any
    results: dict[str, Any]
    promises: Sequence[str] = ()


def write_card(about: About) -> str:
    """The text of README.md."""
    model, task = about.model, TASKS[about.model.task][0]
    name = about.address.rpartition("/")[2]
    made = f"{type(model).__name__}, a model for {task}, made with visionkit {visionkit.__version__} (keras-visionkit)."
    parts = [f"# {name}", made, *_use(about), *_takes(model), *_scores(about.results), *_promises(about)]
    parts += [*_training(about.results), *_limits(about), *_licence(about)]
    text = _head(about) + "\n" + "\n\n".join(parts) + "\n"
    return f"{text}\n<!-- visionkit wrote this page; {_sum(text)} -->\n"


def is_unchanged(text: str) -> bool:
    """Whether a card is as `write_card` wrote it, and nobody has edited it since."""
    mark = _MARK.search(text)
    return mark is not None and _sum(text[: mark.start()]) == mark[1]


def without_paths(value: Any) -> Any:
    """Knobs with the last part of each path only, since the others tell about the machine and its user."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value and not value.startswith("hf:/")):
        return Path(value).name or "data"
    return value


def _head(about: About) -> str:
    licence = about.model.licence
    head: dict[str, Any] = {"library_name": "visionkit", "pipeline_tag": TASKS[about.model.task][1]}
    head["license"] = licence.lower() if licence in LICENCES else "other"
    if licence not in LICENCES:
        head["license_name"] = licence
    head["tags"] = ["visionkit", "keras", type(about.model).__name__.lower()]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"


def _use(about: About) -> Iterable[str]:
    verb = TASKS[about.model.task][2]
    yield "## Use"
    yield _code("pip install 'keras-visionkit[tensorflow,hub]'", "bash")
    if verb == "stylize":
        yield _code(f"visionkit stylize PHOTOS --model {about.address} --out painted", "bash")
        return
    yield _code(
        "import visionkit as vk\n\n"
        f'predictor = vk.open_predictor("{about.address}")\n'
        'result = predictor("photo.jpg")\n'
        "print(result.to_pandas())",
        "python",
    )
    yield _code(f"visionkit {verb} {about.address} PHOTOS --out results", "bash")
    yield (
        "visionkit reads `model.keras` alone, in Keras' safe mode, and executes nothing of this repository. "
        f"`{about.address}@COMMIT` pins a version."
    )


def _takes(model: Any) -> Iterable[str]:
    height, width = model.image_size
    colours = "RGB" if model.channels == 3 else "grey"
    how = {"letterbox": "keeps its shape and is padded", "stretch": "is stretched"}.get(model.resize)
    if crop_share(model.resize):
        how = "keeps its shape, and its middle is taken"
    if model.task == "style":
        how = "keeps its size"
    yield "## Input and classes"
    text = f"Images of any size. visionkit makes them {colours}, {height} pixels high and {width} wide: an image"
    yield f"{text} {how}. The model has {model.count_params() / 1e6:.2f} million parameters."
    names = [_quoted(name) for name in model.class_names]
    yield f"{len(names)} {'styles' if model.task == 'style' else 'classes'}: {', '.join(names)}"


def _scores(results: dict[str, Any]) -> Iterable[str]:
    columns = {"validation": results, "test": results.get("test", {})}
    columns = {name: scores for name, scores in columns.items() if any(key in scores for key in SCORES)}
    yield "## Scores"
    if not columns:
        yield "Not measured, or not known to whoever pushed this model."
        return
    heads = [f"{name} ({scores.get('images', '?')} images)" for name, scores in columns.items()]
    rows = [
        [key, *(_number(scores.get(key)) for scores in columns.values())]
        for key in SCORES
        if any(scores.get(key, -1) != -1 for scores in columns.values())
    ]
    yield _table(["", *heads], rows)
    if "validation" in columns:
        yield "The validation images chose the epoch that was kept, so scores on them are a little too high."
    if per_class := results.get("per_class"):
        keys = list(next(iter(per_class.values())))
        shown = list(per_class.items())[:MOST]
        yield f"Each class, on the validation images{'' if len(shown) == len(per_class) else f' (the first {MOST})'}:"
        yield _table(["", *keys], [[_quoted(name), *(_number(row.get(key)) for key in keys)] for name, row in shown])


def _promises(about: About) -> Iterable[str]:
    if about.promises:
        yield "## Promises"
        # As code, since the names of classes in it may be anything.
        yield _code("\n".join(plain(line).replace("`", "'") for line in about.promises), "text")


def _training(results: dict[str, Any]) -> Iterable[str]:
    if not results:
        return
    knobs, environment = results.get("knobs", {}), results.get("environment", {})
    data = knobs.get("data") or knobs.get("data_dir")
    named = f" of the data set {_quoted(data)}" if data else ""
    yield "## Training"
    lines = [f"Learned from {results.get('train_images', '?')} images{named}"]
    lines.append(f"with {results.get('val_images', 0)} held back for validation")
    if "seconds" in results:
        lines.append(f"in {results['seconds'] / 60:.1f} minutes")
    yield ", ".join(lines) + "."
    settings = [[key, _quoted(value)] for key, value in _flat(knobs) if value is not None and key != "data"]
    if settings:
        yield _table(["knob", "value"], settings)
    if versions := environment.get("versions"):
        yield "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _limits(about: About) -> Iterable[str]:
    results, model = about.results, about.model
    limits = []
    if model.task != "style":
        limits.append("It knows the classes above and no others.")
    if results.get("train_images"):
        text = f"It was learned from {results['train_images']} images; photos of other places, cameras or light than"
        limits.append(f"{text} theirs may be read worse. Try it on yours before you rely on it.")
    if results and "test" not in results:
        limits.append("It was not scored on images that neither the training nor the choice of the epoch has seen.")
    counted = {name: row.get("objects", row.get("images")) for name, row in results.get("per_class", {}).items()}
    few = [_quoted(name) for name, count in counted.items() if count is not None and count < FEW][:MOST]
    if few:
        limits.append(f"Fewer than {FEW} validation examples, so that their scores say little: {', '.join(few)}.")
    if "mAP_small" in results and "mAP_large" in results and results["mAP_small"] < results["mAP_large"] / 2:
        small, large = (_number(results[f"mAP_{size}"]) for size in ("small", "large"))
        limits.append(f"It finds small objects much worse than large ones (mAP {small} and {large}).")
    if verdict := results.get("verdict"):
        limits.append(f"What its learning curves show: {plain(str(verdict))}.")
    if limits:
        yield "## Limits"
        yield "\n".join(f"- {limit}" for limit in limits)


def _licence(about: About) -> Iterable[str]:
    yield "## Licence"
    licence, knobs = about.model.licence, about.results.get("knobs", {})
    text = f"The weights: {_quoted(licence)}" if licence != "unknown" else "The licence of the weights is not known"
    if knobs.get("start"):
        text += f"; they began as {_quoted(knobs['start'])}"
    elif knobs.get("backbone"):
        text += f"; the backbone is {_quoted(knobs['backbone'])}"
    yield f"{text}. visionkit does not know the licence of the data that they were learned from."


def _flat(knobs: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The knobs, and in place of one that has fields its fields."""
    for name, value in knobs.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{field}", inner) for field, inner in value.items())
        else:
            yield name, value


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def _number(value: Any) -> str:
    if not isinstance(value, int | float) or value == -1:  # -1: nothing to measure against
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _quoted(value: Any) -> str:
    """A name that anybody may have chosen, so that Markdown and HTML in it mean nothing."""
    text = plain(str(value)).replace("`", "'").replace("|", "/")
    return f"`{text[:80]}{'...' if text[80:] else ''}`"


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
