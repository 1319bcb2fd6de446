"""Plants wrong labels into right ones: as many missing, wrongly named, badly placed and invented objects."""

from dataclasses import replace

import numpy as np

from visionkit import npboxes
from visionkit.suspects.suspect import CLASS, INVENTED, MISSING, PLACE


def plant(pairs, share, seed, num_classes, corrected=()):
    """Returns the pairs with `share` of the boxes wrong, and what was planted: (image, kind, box) of each.

    The box is the planted one, and of a missing object the right one.

    Args:
        pairs: samples, without crowds, and detections; the latter stay as they are.
        share: of the objects, for all four kinds together.
        seed: of what is drawn.
        num_classes: K.
        corrected: numbers of errors, as they are returned without it, that are put right again; the others stay.
    """
    rng = np.random.default_rng(seed)
    boxes = [list(sample.boxes) for sample, _ in pairs]
    labels = [sample.labels.tolist() for sample, _ in pairs]
    places = [(i, j) for i, several in enumerate(boxes) for j in range(len(several))]
    each = round(share * len(places)) // 4
    picked = [places[k] for k in rng.permutation(len(places))[: 4 * each]]
    planted, dropped = [], set()
    for number, (i, j) in enumerate(picked):
        size, kind = pairs[i][0].image_size, (MISSING, CLASS, PLACE, INVENTED)[number // each]
        if kind == MISSING:
            dropped.add((i, j))
        elif kind == CLASS:
            labels[i][j] = int(rng.choice([k for k in range(num_classes) if k != labels[i][j]]))
        elif kind == PLACE:
            boxes[i][j] = _moved(boxes[i][j], size, rng)
        else:
            other, row = places[rng.integers(len(places))]
            boxes[i].append(_elsewhere(boxes[other][row], pairs[i][0], rng))
            labels[i].append(labels[other][row])
            j = len(boxes[i]) - 1
        planted.append((i, kind, boxes[i][j], j))
    for number in sorted(corrected):  # only now, as what is drawn depends on what was drawn before
        i, kind, _, j = planted[number]
        if kind == MISSING:
            dropped.remove((i, j))
        elif kind == INVENTED:
            dropped.add((i, j))
        else:
            boxes[i][j], labels[i][j] = pairs[i][0].boxes[j], int(pairs[i][0].labels[j])
    planted = [error[:3] for number, error in enumerate(planted) if number not in corrected]
    wrong = []
    for i, (sample, detections) in enumerate(pairs):
        kept = [j for j in range(len(boxes[i])) if (i, j) not in dropped]
        changed = {"boxes": np.float32([boxes[i][j] for j in kept]).reshape(-1, 4), "ignore": None, "areas": None}
        wrong.append((replace(sample, **changed, labels=np.int32([labels[i][j] for j in kept])), detections))
    return wrong, planted


def _moved(box, size, rng):
    """A box that overlaps the right one by an IoU of 0.25 to 0.6."""
    while True:
        sides = np.tile(box[2:] - box[:2], 2)
        moved = npboxes.clip((box + rng.uniform(-0.6, 0.6, 4) * sides)[None], size)
        if (moved[0, 2:] > moved[0, :2]).all() and 0.25 <= npboxes.iou(moved, box[None])[0, 0] <= 0.6:
            return moved[0]


def _elsewhere(box, sample, rng):
    """A box of that size where it overlaps the image's objects the least, of 200 places; 0.1 is little enough."""
    h, w = sample.image_size
    extent = np.minimum(box[2:] - box[:2], [w, h])
    best = (np.inf, box)
    for _ in range(200):
        corner = rng.uniform(0, 1, 2) * ([w, h] - extent)
        drawn = np.float32([*corner, *(corner + extent)])
        overlap = npboxes.iou(drawn[None], sample.boxes).max(initial=0)
        best = min(best, (overlap, drawn), key=lambda pair: pair[0])
        if overlap < 0.1:
            break
    return best[1]


def found_errors(suspects, planted):
    """The number of the planted error that each suspect is, each error counting once; -1 for none of them."""
    left, found = dict(enumerate(planted)), []
    for suspect in suspects:
        box = suspect.proposed_box if suspect.kind == MISSING else suspect.box
        same = [n for n, error in left.items() if error[0] == suspect.image and _is(box, suspect.kind, error)]
        found.append(same[0] if same else -1)
        left.pop(found[-1], None)
    return found


def hits(suspects, planted):
    """The kinds of the planted errors that `found_errors` finds, "" for a suspect that is none of them."""
    return [planted[number][1] if number >= 0 else "" for number in found_errors(suspects, planted)]


def _is(box, kind, error):
    _, planted_kind, planted_box = error
    return (kind == MISSING) == (planted_kind == MISSING) and npboxes.iou(box[None], planted_box[None])[0, 0] >= (
        0.5 if kind == MISSING else 0.99
    )
