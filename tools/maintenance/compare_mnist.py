"""Compares initial weights and optimizers on MNIST: a maintenance script, not a verb.

    python tools/maintenance/compare_mnist.py DATA OUT

DATA is the folder of mnist.npz. Trains configs/mnist_compare.py with each kind of initial weights and a few seeds, and
for one epoch with each optimizer at two rates. Each training is a run folder in OUT; interrupted and started again, the
script continues. Writes OUT/tables.md, which docs/experiments.md shows, and OUT/compare.png, the losses by epoch for
the initial weights.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "mnist_compare.py"
SEEDS, EPOCHS = 2, 3
NETWORKS = {
    "one layer, sigmoid": {"layers": 1, "activation": "sigmoid", "lr": 0.5},
    "five layers, ReLU": {"layers": 5, "activation": "relu", "lr": 0.05},
}
STARTS = {
    "normal": "N(0, 1)",
    "scaled": "N(0, 1/n), n inputs",
    "glorot": "Glorot, uniform",
    "he": "He, normal",
}
RATES = {
    "sgd": (0.1, 0.5),
    "momentum": (0.01, 0.1),
    "nesterov": (0.01, 0.1),
    "adagrad": (0.01, 0.1),
    "rmsprop": (0.001, 0.01),
    "adam": (0.001, 0.01),
}
FAILED = "the loss was no longer a number"


def main(data: Path, out: Path):
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.learning import Learning
    from visionkit.train.recipe import load_recipe

    recipe_function = load_recipe(CONFIG)
    plain = Learning(optimizer="sgd", schedule="constant", warmup=0.0, weight_decay=0.0)
    starts, lines = compare_starts(recipe_function, plain, data, out)
    lines += ["", *compare_optimizers(recipe_function, plain, data, out)]
    (out / "tables.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    draw(starts, out / "compare.png")


def compare_starts(recipe_function, plain, data, out):
    """The results by network and first weights, and the lines of their table."""
    lines = [
        f"| network | first weights | loss, epoch 1 | loss, epoch {EPOCHS} | top-1 after {EPOCHS} epochs |",
        "|---|---|---|---|---|",
    ]
    starts = {}
    for network, network_knobs in NETWORKS.items():
        for start, words in STARTS.items():
            knobs = {"data_dir": data, "epochs": EPOCHS, "learning": plain, "seed": 0, "start": start} | network_knobs
            result = train_with_seeds(recipe_function, knobs, out / f"start-{knobs['layers']}-{start}")
            starts.setdefault(network, {})[words] = result
            lines.append(f"| {network}, SGD {knobs['lr']:g} | {words} | {row_of(result)} |")
    return starts, lines


def train_with_seeds(recipe_function, knobs, folder):
    """Returns the scores, and the loss by epoch as the mean over the seeds; None where the training failed."""
    from visionkit.evaluate.learning_curves import read_history
    from visionkit.experiments.seeds import seeds
    from visionkit.types import DataError

    try:
        result = seeds(recipe_function, knobs, SEEDS, folder, CONFIG)
    except DataError:
        if not list(folder.glob("seed-*/crash")):
            raise
        return None
    histories = [read_history(folder / f"seed-{seed}") for seed in range(SEEDS)]
    losses = np.mean([[row["loss"] for row in history] for history in histories], axis=0)
    return [row["top1"] for row in result["rows"]], losses


def compare_optimizers(recipe_function, plain, data, out):
    """The lines of the table."""
    from visionkit.evaluate.learning_curves import read_history
    from visionkit.experiments.runs import finish
    from visionkit.train.options import Options

    lines = ["| optimizer | rate | loss, epoch 1 | top-1 after 1 epoch |", "|---|---|---|---|"]
    for name, rates in RATES.items():
        learning = replace(plain, optimizer=name, momentum=0.0 if name == "rmsprop" else 0.9)
        for rate in rates:
            folder = out / f"{name}-{rate:g}"
            knobs = {"data_dir": data, "learning": learning, "lr": rate, "epochs": 1, "seed": 0}
            results = finish(recipe_function, knobs, folder, CONFIG, Options())
            loss = read_history(folder)[0]["loss"]
            lines.append(f"| {name} | {rate:g} | {loss:.3f} | {100 * results['top1']:.2f} % |")
    return lines


def row_of(result) -> str:
    if result is None:
        return f"{FAILED} | - | -"
    scores, losses = result
    low, high = 100 * min(scores), 100 * max(scores)
    return f"{losses[0]:.3f} | {losses[-1]:.3f} | {100 * np.mean(scores):.2f} % ({low:.2f} to {high:.2f})"


def draw(panels, file):
    from matplotlib.figure import Figure

    from visionkit.metrics.pictures import save_figure

    figure = Figure(figsize=(8, 3.6), dpi=80, layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for i, (name, result) in enumerate(curves.items()):
            if result is not None:
                axes.plot(range(1, EPOCHS + 1), result[1], marker=".", label=name, color=f"C{i}")
        axes.set(title=title, xlabel="epoch", yscale="log", xticks=range(1, EPOCHS + 1))
        axes.grid(color="#dddddd")
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("loss of the training images")
    save_figure(figure, file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
