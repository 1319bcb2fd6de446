"""The table and the picture of what bench_torchvision.py measured: inference beside torchvision, by network."""

from collections.abc import Callable
from pathlib import Path

from torchvision_cases import CASES, CLASSIFIERS

Table = dict[tuple[str, str], dict[str, float]]  # (case, "batch N") -> {runtime, "" for Keras: ratio}


def inferences(ratios: dict[str, float]) -> Table:
    """The ratios of inference among those of a ratios.json, classifiers first."""
    table: Table = {}
    for name, ratio in ratios.items():
        case, measure, *rest = name.split(", ")
        if measure == "inference":
            batch, *runtime = rest
            table.setdefault((case, batch), {})["".join(runtime)] = ratio
    return dict(sorted(table.items(), key=lambda row: row[0][0] not in CLASSIFIERS))


def geometric_mean(table: Table, choose: Callable[[dict[str, float]], float]) -> float:
    """Of one ratio of each row."""
    product = 1.0
    for row in table.values():
        product *= choose(row)
    return product ** (1 / len(table))


def markdown(table: Table) -> str:
    """The table with a last row of geometric means. Where a runtime was not measured, its cell is empty."""
    runtimes = _runtimes(table)
    lines = [["", *(f"`{runtime or 'Keras'}`" for runtime in runtimes)], ["---"] * (1 + len(runtimes))]
    for (case, batch), row in table.items():
        lines.append([f"{_with_size(case)}, {batch}", *(_cell(row.get(runtime)) for runtime in runtimes)])
    means = [_mean(table, runtime) for runtime in runtimes]
    lines.append(["geometric mean", *map(_cell, means)])
    return "\n".join(_line(cells) for cells in lines)


def draw(table: Table, file: Path, **about: str) -> None:
    """Draws the table into a PNG file, which also holds the texts `about`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.35 * len(table)), layout="constrained")
    for i, runtime in enumerate(_runtimes(table)):
        places = [(row[runtime], place) for place, row in enumerate(table.values()) if runtime in row]
        axes.plot(*zip(*places, strict=True), "o", color=f"C{i}", label=runtime or "Keras")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(range(len(table)), [", ".join(key) for key in table])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("time of an inference relative to torchvision's (left of 1 is faster)")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120, metadata=about)
    pyplot.close(figure)


def _runtimes(table: Table) -> list[str]:
    return list(dict.fromkeys(runtime for row in table.values() for runtime in row))


def _mean(table: Table, runtime: str) -> float | None:
    """Of a runtime's ratios; None if it was not measured in each row."""
    if any(runtime not in row for row in table.values()):
        return None
    return geometric_mean(table, lambda row: row[runtime])


def _with_size(case: str) -> str:
    """The case with the size of its images, unless that is a classifier's 224 or in the name."""
    height, width = CASES[case][0]
    return case if case in CLASSIFIERS or str(height) in case else f"{case} at {height}x{width}"


def _cell(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _line(cells: list[str]) -> str:
    if set(cells) == {"---"}:
        return f"|{'|'.join(cells)}|"
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"
