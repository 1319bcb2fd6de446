"""Seconds for a step of style transfer on VGG19, compared with plain PyTorch, in turns in one run.

    python tools/benchmarks/bench_style.py TORCH_PYTHON [HEIGHT WIDTH]

TORCH_PYTHON is the interpreter of an environment with torchvision. Both take Adam steps on the same losses (content at
the third stage and Gram matrices at the first four), with random weights, at 300x450 by default. Nothing else should
run on the machine.
"""

import json
import statistics
import sys
import time

ROUNDS, STEPS = 5, 3  # rounds that count, and steps of each side in a round


def ours(size):
    import keras
    import numpy as np

    from visionkit.backbones import BACKBONES
    from visionkit.style.canvas import Canvas, Weights
    from visionkit.style.losses import take_features

    content, style = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    canvas = Canvas(take_features(BACKBONES["vgg19"]()), content, content, [style], [1.0], Weights())
    canvas.compile(optimizer=keras.optimizers.Adam(4.0), jit_compile=keras.backend.backend() == "jax")
    return canvas.step


def theirs(size):
    import torch
    from torch.nn import functional as F
    from torchvision.models import vgg19

    network = vgg19(weights=None).features[:27].eval().requires_grad_(False)  # up to relu4_4
    ends = (3, 8, 17, 26)  # relu1_2, relu2_2, relu3_4, relu4_4

    def see(x):
        seen = []
        for i, layer in enumerate(network):
            x = F.relu(x) if isinstance(layer, torch.nn.ReLU) else layer(x)
            if i in ends:
                seen.append(x)
        return seen

    def gram(x):
        flat = x.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    torch.manual_seed(0)
    content, style = (torch.rand(1, 3, *size) for _ in range(2))
    with torch.no_grad():
        wanted, grams = see(content)[2], [gram(x) for x in see(style)]
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=0.02)

    def step():
        optimizer.zero_grad()
        seen = see(image)
        loss = F.mse_loss(seen[2], wanted) / (wanted**2).mean()
        loss = loss + 20 * sum(((gram(x) - g) ** 2).sum() / (g**2).sum() for x, g in zip(seen, grams, strict=True)) / 4
        across, down = image.diff(dim=3), image.diff(dim=2)
        loss = loss + 0.5 * ((across**2).mean() + (down**2).mean())
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def work(which, size):
    """Answers each line of stdin with the seconds that a step took, as the mean of STEPS steps; all lines are JSON."""
    step = {"ours": ours, "theirs": theirs}[which](size)
    step()
    print(json.dumps({"ready": which}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - start) / STEPS}), flush=True)


def main():
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    from visionkit.bench.measure import Worker  # here, because the other environment does not have visionkit
    from visionkit.types import DataError

    size = sys.argv[2:] or ["300", "450"]
    pythons = {"ours": sys.executable, "theirs": sys.argv[1]}
    seconds = {name: [] for name in pythons}
    try:
        workers = {name: Worker([python, __file__, "--worker", name, *size]) for name, python in pythons.items()}
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                seconds[name].append(worker.call()["seconds"])
        for worker in workers.values():
            worker.close()
    except DataError as error:
        sys.exit(str(error))
    mine, other = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    print(f"VGG19 at {size[0]}x{size[1]}: ours {mine:.3f} s a step, PyTorch {other:.3f} s, ratio {mine / other:.2f}")
    print("all rounds:", {name: [round(value, 3) for value in values] for name, values in seconds.items()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], (int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
