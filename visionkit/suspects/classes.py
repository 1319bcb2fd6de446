"""Suspicious classes of whole images, by confident learning (Northcutt et al., arXiv 1911.00068, section 3)."""

import numpy as np

from visionkit.suspects.suspect import CLASS, Suspect, ranked


def suspicious_classes(probabilities: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    """Returns the images whose class is probably wrong, the most suspicious first.

    An image is suspicious if the model gives another class at least the probability that it usually gives to images of
    that class, and more than the annotated class. The score says by how much the probability of the annotated class
    falls short of what its images usually get: this finds more errors than the difference of the two probabilities,
    which a model that is sure of little cannot make large.

    Args:
        probabilities: float `[N, K]`, of a model that has not learned from these images.
        labels: int `[N]`, the annotated class ids.
    """
    own = probabilities[np.arange(len(labels)), labels]
    usual = np.full(probabilities.shape[1], np.inf)  # infinite for a class that no image has
    for k in np.unique(labels):
        usual[k] = own[labels == k].mean()
    usual = np.maximum(usual, np.finfo(float).tiny)  # 0 for a class whose images never get any
    others = np.where(probabilities >= usual, probabilities, -1.0)
    others[np.arange(len(labels)), labels] = -1
    best = others.argmax(axis=1)
    found = []
    for image in np.flatnonzero(others.max(axis=1) > own).tolist():
        k = int(best[image])
        confidence = float(probabilities[image, k])
        found.append(
            Suspect(
                image=image,
                kind=CLASS,
                score=float(np.clip(1 - own[image] / usual[labels[image]], 0, 1)),
                label=int(labels[image]),
                proposed_label=k,
                confidence=confidence,
            )
        )
    return ranked(found)
