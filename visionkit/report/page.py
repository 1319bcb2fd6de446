"""The page of `visionkit report`: a single file to skim in ten seconds or to read in ten minutes."""

from pathlib import Path

from visionkit.files import write_bytes
from visionkit.html import charts
from visionkit.html.document import document, text
from visionkit.report import model_sections, run_sections
from visionkit.report.facts import Assessment, RunFacts
from visionkit.report.forms import forms
from visionkit.report.words import remarks
from visionkit.types import BOX_TASKS

FILE = "report.html"

HEADLINES = {  # task -> (key, name, what it means); the first one is the headline
    "detect": (
        ("mAP50", "mAP50", "average precision at an IoU of 0.5, mean over classes"),
        ("mAP", "mAP", "over IoU 0.5 to 0.95: also measures how tight the boxes are"),
        ("mAR100", "mAR", "share of the objects found, however low their score"),
    ),
    "classify": (
        ("top1", "accuracy", "of the images have the right class first"),
        ("top5", "top 5", "have it among the first five"),
    ),
    "segment": (
        ("mIoU", "mIoU", "intersection over union, mean over classes"),
        ("pixel_accuracy", "pixel accuracy", "share of all pixels that are right"),
        ("mean_accuracy", "class accuracy", "share of a class's pixels found, mean over classes"),
        ("boundary_f1", "boundary F1", "how well outlines agree"),
    ),
}
HEADLINES["instance"] = (
    *HEADLINES["detect"][:2],
    ("mask_mAP50", "mask mAP50", "the same for the masks at an IoU of 0.5"),
    ("mask_mAP", "mask mAP", "over IoU 0.5 to 0.95"),
)
HEADLINES["keypoints"] = (
    *HEADLINES["detect"][:2],
    ("keypoint_mAP50", "keypoint mAP50", "the same for the keypoints at a similarity (OKS) of 0.5"),
    ("keypoint_mAP", "keypoint mAP", "over OKS 0.5 to 0.95"),
)

_STYLE = (
    charts.STYLE
    + """
header p { margin: .1em 0 } .cards { display: grid; gap: 1em; margin: 1.2em 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 11em), 1fr)) }
.cards b { display: block; font-size: 1.7em; line-height: 1.25; font-variant-numeric: tabular-nums }
.cards .ends { display: block; margin-bottom: .3em }
.cards .first { grid-column: span 2; border-left: .4em solid rgb(var(--blue)) } .cards .first b { font-size: 2.6em }
@media (max-width: 30em) { .cards { grid-template-columns: 1fr 1fr } }
.words { list-style: none; margin: 0; padding: .6em 1em } .words li { padding: .3em 0 .3em 1.5em; text-indent: -1.5em }
.words .grade { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .75em }
.kind { --least: 17em } .kind.pixels { --least: 40em } .absent { color: var(--soft); font-style: italic }
.kind figure { padding: .5em } .kind figcaption { margin-top: .3em } details { margin: .6em 0 }
summary { cursor: pointer } .pair { display: grid; gap: 1em; grid-template-columns: repeat(auto-fit,
  minmax(min(100%, 22em), 1fr)) } .pair > * { min-width: 0 }
.stack > * + * { margin-top: 1em }
.value { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
"""
)


def write_report(run: RunFacts, assessment: Assessment) -> Path:
    """Writes report.html into the run folder, completely or not at all, and returns its path."""
    file = run.folder / FILE
    write_bytes(file, page(run, assessment).encode())
    return file


def page(run: RunFacts, assessment: Assessment) -> str:
    """Returns the whole page."""
    is_detector = assessment.task in BOX_TASKS
    parts = [
        _header(run),
        _cards(assessment),
        _in_short(run, assessment),
        run_sections.promises(run),
        run_sections.learning(run),
        _section("Scores by class", model_sections.class_scores(assessment), assessment),
        _section("Confused classes", model_sections.confusion(assessment), assessment),
        _section("Precision and recall", model_sections.precision(assessment), assessment) if is_detector else "",
        _section("The worst mistakes", model_sections.mistakes(assessment), assessment),
        forms(run),
        _section("The data", model_sections.data(assessment), assessment),
        run_sections.speed(run),
        run_sections.first_batch(run),
        run_sections.how_it_was_made(run),
    ]
    return document(f"{run.folder.name} · visionkit report", "\n".join(part for part in parts if part), _STYLE)


def _section(title: str, body: str | None, assessment: Assessment) -> str:
    """A section, or in its place a sentence on why it is missing."""
    absent = assessment.absent.get(title) or assessment.absent.get("model", "There is nothing to show.")
    return f"<h2>{text(title)}</h2>" + (body or f'<p class="absent">{text(absent)}</p>')


def _header(run: RunFacts) -> str:
    epochs = len(run.history)
    facts = []
    if "train_images" in run.results:
        facts.append(f"{run.results['train_images']:,} training images")
    facts.append(f"{epochs} epoch{'' if epochs == 1 else 's'}")
    if "epoch" in run.results and any(key.startswith("val_") for row in run.history for key in row):
        facts.append(f"the model is that of epoch {run.results['epoch']}")
    if "seconds" in run.results:
        facts.append(f"trained in {run_sections.duration(run.results['seconds'])}")
    else:
        facts.append("NOT FINISHED: visionkit train --resume continues it")
    about = run.about or "visionkit finetune" + (f" {run.data}" if run.data else "")
    return (
        f"<header><p class='soft'>visionkit report</p><h1>{text(run.folder.name)}</h1><p>{text(about)}</p>"
        f"<p class='soft'>{text(' · '.join(facts))}</p></header>"
    )


def _cards(assessment: Assessment) -> str:
    """The most important scores in large digits."""
    scores, few_classes = assessment.scores, len(assessment.scores.get("per_class", ())) <= 5
    cards = []
    for key, name, meaning in HEADLINES.get(assessment.task or "", ()):
        if scores.get(key, -1) < 0 or (key == "top5" and few_classes):  # with five classes, top 5 is always 1
            continue
        first = "" if cards else " first"
        value = f"{scores[key]:.1%}" if assessment.task == "classify" else f"{scores[key]:.3f}"
        interval = ""
        if ends := scores.get("intervals", {}).get(key):
            shown = " to ".join(f"{end:.1%}" if assessment.task == "classify" else f"{end:.3f}" for end in ends)
            interval = f"<span class='ends'>{shown}</span>"
        card = f"{text(name)}<b>{value}</b>{interval}<span class='soft'>{text(meaning)}</span>"
        cards.append(f'<div class="card{first}">{card}</div>')
    if not cards:
        return f'<p class="absent">{text(assessment.absent.get("model", "This run was not scored."))}</p>'
    note = f"Measured on {assessment.measured}."
    if scores.get("intervals"):
        note += " Below a score its 95 % interval: where it may lie on other images of the same kind."
    return f'<div class="cards">{"".join(cards)}</div><p class="soft">{text(note)}</p>'


def _in_short(run: RunFacts, assessment: Assessment) -> str:
    grades = assessment.diagnosis.grades() if assessment.diagnosis else None
    scores = assessment.scores
    rows = remarks(assessment.task, scores, scores.get("closely"), run.history, run.waited, grades)
    items = [f'<li><span class="grade {r.grade}" title="{r.grade}"></span>{text(r.text)}</li>' for r in rows]
    return f'<h2>In short</h2><ul class="words card">{"".join(items)}</ul>'
