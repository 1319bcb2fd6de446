"""The doctor's result: findings by kind and grade, as text and as JSON."""

import json
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from visionkit.data.box_formats import WRONG_FORMAT
from visionkit.data.dataset import Dataset
from visionkit.data.repair import KEYPOINT, Finding
from visionkit.doctor.annotation_checks import SAME_BOX
from visionkit.types import plain

ERROR, WARNING, NOTE = GRADES = ("error", "warning", "note")
KINDS = {  # kind -> (grade, what it means or what to do), the most serious first
    "broken image": (ERROR, "cannot be decoded completely: replace or remove it"),
    "broken mask": (ERROR, "cannot be read: replace it or remove its image"),
    "broken annotation": (ERROR, "not as its format prescribes: skipped in training, or training stops"),
    "missing image": (ERROR, "annotated, but there is no such file"),
    "missing annotation": (ERROR, "listed, or beside annotated images, but not annotated"),
    "file outside the folder": (ERROR, "a path or link that leads out of the data set is refused"),
    "listed twice": (ERROR, "the same image twice in a list or under one name"),
    "EXIF orientation": (ERROR, "annotated on the image before it was turned upright: annotate it again"),
    "image size": (ERROR, "annotated at another size than the file has: its boxes cannot be right"),
    "zero area": (ERROR, "a box without width or height: dropped by the readers"),
    "corners in the wrong order": (ERROR, "x2 < x1 or y2 < y1: dropped by the readers"),
    "outside the image": (ERROR, "a box entirely outside its image: dropped by the readers"),
    "keypoint visibility": (ERROR, "0 is not annotated, 1 hidden, 2 visible: skipped in training, or training stops"),
    "unknown class": (ERROR, "a class id or mask value without a name"),
    "lossy mask": (ERROR, "JPEG and WebP change the values: save masks as PNG"),
    "colours in a mask": (ERROR, "class numbers are expected: save it as a grey or palette PNG"),
    "same image in two splits": (ERROR, "training images must not be scored on: remove it from one of the splits"),
    "same image, two labels": (ERROR, "one of the two classes is wrong"),
    WRONG_FORMAT: (
        ERROR,
        "most boxes are impossible in the format they were read in: refused by training and convert",
    ),
    "no objects": (ERROR, "nothing can be learned: is another kind of label meant, or are all of them unusable?"),
    "no keypoints": (ERROR, "refused by training: every split needs marked keypoints, the same ones in the same order"),
    "box format": (WARNING, "boxes that make sense only when read in another format"),
    "clipped": (WARNING, "a box partly outside its image: clipped by the readers"),
    KEYPOINT: (WARNING, "read as not annotated"),
    "duplicate box": (WARNING, f"two boxes with an IoU of {SAME_BOX} or more"),
    "two classes": (WARNING, "one box with two classes: is one of them wrong? --fix keeps both"),
    "near duplicate in two splits": (WARNING, "a copy, another size or the next frame: scores will be too good"),
    "proposal": (WARNING, "a model's, which nobody has accepted: not read; untick `proposed` in CVAT, or delete it"),
    "unannotated image": (WARNING, "not read: label it, name its folder like a split, or take it out of the data set"),
    "few label files": (
        WARNING,
        "read as images without objects: are all .txt files there, and named like the images?",
    ),
    "similar classes": (WARNING, "differ only in case or in spaces around them: one class written in two ways?"),
    "class without samples": (WARNING, "named, but never used"),
    "class not in train": (WARNING, "cannot be learned"),
    "deeper folder": (WARNING, "skipped: a class is a folder that directly contains images; move these up, or away"),
    "missing mask": (WARNING, "masks are used only if every annotation has one: draw it, or remove the annotation"),
    "unread image": (WARNING, "in a format that is not read: save it as JPEG or PNG"),
    "ignored mask": (WARNING, "more than nine tenths of it are ignored: teaches hardly anything"),
    "rare mask value": (WARNING, "a few pixels in one mask only: a slip, or a trace of smoothing?"),
    "numbered masks": (WARNING, "if their values number objects, pass --task detect or --task instance"),
    "found by name": (NOTE, "the annotations name another folder or spelling; each is the only image that fits"),
    "box base": (NOTE, "boxes that begin at 0 show it, however few; docs/data.md states the rule"),
    "four points": (NOTE, "if these are oriented boxes, train with --task detect on the upright boxes around them"),
    "class-id gaps": (NOTE, "numbers that are skipped between those in use"),
    "EXIF tag": (NOTE, "turned upright when read; check that it was annotated that way"),
    "repeated image": (NOTE, "the same image twice within a split"),
    "class balance": (NOTE, "consider class weights, or more images of the rare class"),
    "small objects": (NOTE, "train at a larger size, or expect to miss them"),
    "no label file": (NOTE, "read as an image without objects, as YOLO does"),
    "background": (NOTE, "teaches what is not an object; useful in moderation"),
    "ignored pixels": (NOTE, "neither trained on nor scored"),
}


@dataclass
class Diagnosis:
    """What the doctor found in a data set.

    Args:
        title: a one-line description of the data set and its format.
        task: "detect", "instance", "keypoints", "classify" or "segment".
        parts: split -> its data, without what cannot be read; "all" if the data is not split.
        class_names: of the class ids.
        counts: split -> int `[K]` objects, images or pixels of each class; `what` tells which.
        what: is counted: "objects", "images" or "pixels".
        leaked: (split, sample id) of images that a later split contains as well.
        findings: the most serious first.
        size: (height, width) of the training image, or its long side.
        seconds: how long it took.
    """

    title: str
    task: str
    parts: dict[str, Dataset]
    class_names: list[str]
    counts: dict[str, np.ndarray]
    what: str
    leaked: set[tuple[str, str]]
    findings: list[Finding]
    size: int | tuple[int, int]
    seconds: float

    def by_kind(self) -> dict[str, list[Finding]]:
        """Returns the findings of each kind, in the order of `KINDS`."""
        by_kind = {kind: [finding for finding in self.findings if finding.kind == kind] for kind in KINDS}
        return {kind: findings for kind, findings in by_kind.items() if findings}

    def grades(self) -> dict[str, int]:
        """Returns how many findings there are of each grade."""
        count = Counter(KINDS[finding.kind][0] for finding in self.findings)
        return {grade: count[grade] for grade in GRADES}

    def grades_text(self) -> str:
        """Returns the same in words, e.g. "2 errors, 1 warning, 0 notes"."""
        return ", ".join(f"{count} {grade}{'' if count == 1 else 's'}" for grade, count in self.grades().items())

    def images(self) -> dict[str, int]:
        """Returns how many images of each split can be read."""
        return {split: len(part) for split, part in self.parts.items()}

    def to_json(self) -> str:
        """Returns everything as JSON."""
        classes = {
            split: dict(zip(self.class_names, counts.tolist(), strict=True)) for split, counts in self.counts.items()
        }
        findings = []
        for finding in self.findings:
            files = [str(file) for file in finding.files]
            findings.append({"grade": KINDS[finding.kind][0], **asdict(finding), "files": files})
        content = {
            "data": self.title,
            "task": self.task,
            "images": self.images(),
            "classes": classes,
            "size": self.size,
            "grades": self.grades(),
            "findings": findings,
            "seconds": self.seconds,
        }
        return json.dumps(content, indent=2) + "\n"

    def __str__(self) -> str:
        total = np.sum(list(self.counts.values()), axis=0)
        pairs = sorted(zip(total.tolist(), self.class_names, strict=True), key=lambda pair: -pair[0])
        classes = ", ".join(f"{name} {count:,}" for count, name in pairs[:8])
        if len(pairs) > 8:
            classes += ", ..."
        images = ", ".join(f"{split} {count:,}" for split, count in self.images().items())
        lines = [self.title, f"images: {images}; {self.what}: {classes}"]
        for kind, findings in self.by_kind().items():
            grade, advice = KINDS[kind]
            lines.append(f"{grade:8} {kind} ({len(findings)}): {advice}")
            lines += [f"         {finding.message}" for finding in findings[:3]]
            if len(findings) > 3:
                lines.append(f"         and {len(findings) - 3} more")
        lines.append(f"{self.grades_text()}; {self.seconds:.1f} s")
        return "\n".join(map(plain, lines))  # they quote class names, in which a line's end would forge a line
