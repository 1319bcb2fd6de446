"""Times visionkit and torchvision, in turn in one run, on the CPU; see `--help`. A maintenance script, not a verb.

    python tools/benchmarks/bench_torchvision.py --torch-python OTHER/bin/python [CASE ...] [--runtime openvino ...]
        [--out FOLDER]

`--torch-python` names the interpreter of an environment with torch and torchvision (visionkit is not needed there).
Each side runs in a separate process with the same random weights and images, so that both suppress the same boxes;
while one works, the other waits. A round is one call of torchvision and one of each of ours, with Keras and with every
runtime, so noise on the machine affects all of them alike: read the ratios.
If the machine has other work, the CPU seconds are more reliable than the clock; in that case set
OMP_WAIT_POLICY=PASSIVE, or torch's waiting threads count as work.

To add a case: its name and size in CASES, its layers in `ours` and in `theirs`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
# Image size (height, width), images of an inference, images of a training step.
CASES = {
    "nms": (None, (1,), None),  # 8732 boxes of 20 classes
    "ssd300_vgg16": ((300, 300), (1, 8), 4),
    "fasterrcnn_resnet50_fpn": ((480, 640), (1, 8), 2),
    "fcn_resnet50": ((520, 520), (1, 8), 2),
    "resnet50": ((224, 224), (1, 8), None),
    "densenet121": ((224, 224), (1, 8), None),
    "vgg16": ((224, 224), (1, 8), None),
}
CLASSIFIERS = ("resnet50", "densenet121", "vgg16")
WARM_UP = 1  # calls before the first that counts: TensorFlow traces in it
PAUSE = 0.1  # seconds between two calls, in which idle threads stop spinning
OBJECTS = 6  # an image, in training


def main():
    parser = argparse.ArgumentParser(description="Times visionkit beside torchvision, in turn, on the CPU.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; by default all")
    parser.add_argument("--torch-python", type=Path, help="the interpreter with torch and torchvision")
    parser.add_argument("--runtime", nargs="*", default=[], help="exports whose inference is measured too: onnx, ...")
    parser.add_argument("--batch", nargs="*", type=int, default=[], help="images of an inference, for all cases")
    parser.add_argument("--only", default="", help="measures with this in their name, such as 'inference, batch 1'")
    parser.add_argument("--exports", type=Path, help="keep the exports in this folder, and take those that are there")
    parser.add_argument("--prepare", action="store_true", help="write the exports into --exports and measure nothing")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, at most (default 5)")
    parser.add_argument("--seconds", type=float, default=30, help="begin no third round later than this (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default 2)")
    parser.add_argument("--out", type=Path, help="also write rows.json, table.md and ratios.png into this folder")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(*options.worker, options)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {sorted(unknown)[0]!r}; there are {', '.join(CASES)}")
    if options.prepare:
        return prepare(options)
    if options.torch_python is None or not options.torch_python.is_file():
        parser.error("--torch-python: name the interpreter of an environment with torch and torchvision")
    rows = []
    print(f"{'medians':56}{'visionkit':>11}{'torchvision':>12}{'ratio':>7}{'of CPU time':>13}", flush=True)
    for case in options.cases or CASES:
        ours, theirs = (Worker(python, side, case, options) for python, side in interpreters(options))
        for what in (what for what in theirs.measures if options.only in what):
            same = [measure for measure in ours.measures if measure == what or measure.startswith(f"{what}, ")]
            rows += measured(case, what, same, ours, theirs, options)
        ours.close()
        theirs.close()
    means = summarise(rows)
    print(means)
    if options.out:
        write(rows, means, options.out)
    return 0


def measured(case, what, same, ours, theirs, options):
    """A row for each of our measures in `same`, which torchvision's `what` stands beside."""
    calls, start = [(theirs, what), *((ours, measure) for measure in same)], time.perf_counter()
    times = [[] for _ in calls]  # of each [[seconds, CPU seconds], ...]
    for turn in range(WARM_UP + options.rounds):
        if turn >= WARM_UP + 2 and time.perf_counter() - start > options.seconds:
            break
        for (side, measure), spent in zip(calls, times, strict=True):
            spent += [side.call(measure)] * (turn >= WARM_UP)
    rows = []
    (their_time, their_cpu), *medians = (np.median(spent, axis=0).tolist() for spent in times)
    for measure, spent, (our_time, our_cpu) in zip(same, times[1:], medians, strict=True):
        ratios = {"ratio": our_time / their_time, "cpu_ratio": our_cpu / their_cpu}
        rows.append({"case": case, "measure": measure, **ratios, "visionkit": spent, "torchvision": times[0]})
        numbers = f"{our_time * 1e3:>8.1f} ms{their_time * 1e3:>9.1f} ms"
        print(
            f"{f'{case}, {measure}':56}{numbers}{our_time / their_time:>7.2f}{our_cpu / their_cpu:>13.2f}", flush=True
        )
    return rows


def summarise(rows):
    """The geometric means of the ratios of inference: as it is by default, and by the fastest of the runtimes."""
    lines = []
    for ratio, name in (("ratio", "the clock"), ("cpu_ratio", "CPU time")):
        found = ratios(rows, ratio)
        if found:
            default, best = (
                np.exp(np.mean([np.log(choose(row)) for row in found.values()]))
                for choose in (lambda row: row[""], lambda row: min(row.values()))
            )
            means = f"{default:.2f} by default, {best:.2f} by the best runtime"
            lines.append(f"inference, geometric mean of {len(found)} ratios by {name}: {means}")
    return "\n".join(lines)


def ratios(rows, ratio):
    """{(case, "batch N"): {runtime, "" for Keras: ratio}} of inference."""
    found = {}
    for row in rows:
        if row["measure"].startswith("inference"):
            _, batch, *runtime = row["measure"].split(", ")
            found.setdefault((row["case"], batch), {})["".join(runtime)] = row[ratio]
    return found


def write(rows, means, folder):
    """rows.json, table.md and ratios.png in `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    found = ratios(rows, "ratio")
    runtimes = list(dict.fromkeys(runtime for row in found.values() for runtime in row))
    lines = [
        ["time beside torchvision's", *(runtime or "Keras" for runtime in runtimes)],
        ["---"] * (1 + len(runtimes)),
    ]
    for (case, batch), row in found.items():
        lines.append([f"{case}, {batch}", *(f"{row[runtime]:.2f}" for runtime in runtimes)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (folder / "table.md").write_text(f"{table}\n\n{means}\n")
    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.35 * len(found)), layout="constrained")
    for i, runtime in enumerate(runtimes):
        places = [(row[runtime], place) for place, row in enumerate(found.values()) if runtime in row]
        axes.plot(*zip(*places, strict=True), "o", color=f"C{i}", label=runtime or "Keras")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(range(len(found)), [", ".join(key) for key in found])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("time of an inference in torchvision's (left of 1 is faster)")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "ratios.png", dpi=120)
    pyplot.close(figure)


def prepare(options):
    """Writes the exports of all cases, each in a process of its own, which takes longer than to measure them."""
    for case in options.cases or [case for case in CASES if case != "nms"]:
        worker = Worker(sys.executable, "ours", case, options)
        worker.call("prepare")
        worker.close()
    return 0


def interpreters(options):
    return (sys.executable, "ours"), (str(options.torch_python), "theirs")


class Worker:
    """The process of one side and one case: it is told the name of a measure and answers with `timed`'s seconds."""

    def __init__(self, python, side, case, options):
        limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        environment = os.environ | dict.fromkeys(limits, str(options.threads)) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [python, __file__, "--worker", side, case, "--threads", str(options.threads)]
        command += ["--runtime", *options.runtime, "--batch", *map(str, options.batch)]
        command += ["--exports", str(options.exports)] if options.exports else []
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, env=environment | {"PYTHONUNBUFFERED": "1"}, **pipes)
        self.measures = self._answer()

    def call(self, what) -> list[float]:
        print(what, file=self.process.stdin, flush=True)
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[3:5]} died; see above")
        return json.loads(line)


def work(side, case, options):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    sys.stdout = sys.stderr
    if hasattr(os, "sched_setaffinity"):  # not every runtime reads the variables; all count the cores they may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if options.batch:
        size, _, train_batch = CASES[case]
        CASES[case] = (size, tuple(options.batch), train_batch)
    calls = ours(case, options) if side == "ours" else theirs(case, options.threads)
    print(json.dumps(list(calls)), file=answers, flush=True)
    for line in sys.stdin:
        time.sleep(PAUSE)
        print(json.dumps(calls[line.strip()]()), file=answers, flush=True)
    return 0


def timed(function):
    """A function without arguments that runs `function` and returns the seconds by the clock and of CPU."""

    def call():
        start = now()
        function()
        return (now() - start).tolist()

    return call


def now():
    return np.array([time.perf_counter(), time.process_time()])


def scene(case, batch):
    """images float32 `[batch, H, W, 3]`, 0..255, the same for both sides."""
    from support.drawn import drawn_scene

    return np.concatenate([np.roll(drawn_scene(CASES[case][0]), 37 * i, axis=2) for i in range(batch)])


def objects(case, batch):
    """boxes float32 `[batch, OBJECTS, 4]` of 16 pixels and more, class ids int32 `[batch, OBJECTS]` 0..79."""
    (h, w), rng = CASES[case][0], np.random.default_rng(0)
    low = rng.uniform(0, [0.6 * w, 0.6 * h], (batch, OBJECTS, 2))
    high = low + rng.uniform(16, [0.35 * w, 0.35 * h], (batch, OBJECTS, 2))
    return np.concatenate([low, high], axis=-1).astype(np.float32), rng.integers(0, 80, (batch, OBJECTS), np.int32)


def classes(case, batch):
    """A map int32 `[batch, H, W]` of class ids 0..20 in blocks, with a border of 255 around each."""
    (h, w), rng = CASES[case][0], np.random.default_rng(0)
    blocks = rng.integers(0, 21, (batch, -(-h // 40), -(-w // 40)), np.int32)
    maps = blocks.repeat(40, axis=1).repeat(40, axis=2)[:, :h, :w]
    maps[:, ::40] = maps[:, :, ::40] = 255
    return maps


def candidates():
    """boxes float32 `[8732, 4]` of SSD300's size, scores float32 `[8732, 20]` of which a detector would keep some."""
    rng = np.random.default_rng(0)
    low, size = rng.uniform(0, 250, (8732, 2)), rng.uniform(10, 120, (8732, 2))
    boxes = np.concatenate([low, np.minimum(low + size, 300)], axis=1).astype(np.float32)
    return boxes, (rng.random((8732, 20), np.float32) ** 4).astype(np.float32)


NMS = {"score_threshold": 0.01, "iou_threshold": 0.45, "top_k": 400, "keep": 200}


def later(make):
    """A call of the function that `make` gives; it is made in the first call, which is the warm-up's."""
    made = []

    def call():
        if not made:
            made.append(make())
        return made[0]()

    return call


def ours(case, options):
    """{measure: function that makes one call and returns its seconds}"""
    import keras

    if case == "nms":
        import tensorflow as tf

        from visionkit.ops.nms import best, nms

        @tf.function
        def suppress(boxes, scores):
            scores, row, labels = best(scores, NMS["score_threshold"], 4000)
            return nms(tf.gather(boxes, row, batch_dims=1), scores, labels, NMS["iou_threshold"], NMS["keep"])

        boxes, scores = (tf.constant(x[None]) for x in candidates())
        return {"batch 1": timed(lambda: suppress(boxes, scores)["scores"].numpy())}

    if case.startswith("fcn"):
        return ours_segmenter(case, options)
    if case in CLASSIFIERS:
        return ours_classifier(case, options)

    from support.drawn import drawn_detector_tensor

    from visionkit.weights.convert import assign
    from visionkit.weights.detectors import DETECTORS

    size, batches, train_batch = CASES[case]
    model = DETECTORS[case](80, image_size=size)
    shapes = json.loads(np.load(ROOT / "tests" / "golden" / "detectors" / f"{case}.npz")["tensors"].tobytes())
    assign(model, {name: drawn_detector_tensor(name, tuple(shape)) for name, shape in shapes.items()}, case)
    settings = {"iou_threshold": 0.45} if case.startswith("ssd") else {}
    serving = model.serving(**settings)
    raw = keras.Model(model.input, model.output)
    serving.jit_compile = raw.jit_compile = False
    calls = {}
    for batch in batches:
        x = scene(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: serving.predict_on_batch(x))
        calls[f"post-processing, batch {batch}"] = later(lambda x=x: ours_after(model, raw, settings, x))
    calls |= exported(model, case, options)
    y = dict(zip(("boxes", "labels"), objects(case, train_batch), strict=True))
    y["ignore"] = np.zeros(y["labels"].shape, bool)
    model.compile(optimizer=keras.optimizers.SGD(1e-5, momentum=0.9), jit_compile=False)
    x = scene(case, train_batch)
    calls[f"training step, batch {train_batch}"] = timed(lambda: model.train_on_batch(x, y))
    return calls


def ours_after(model, raw, settings, x):
    """What follows the network alone: decoding and suppression, of the proposals too; not the second stage's layers."""
    import tensorflow as tf

    raw = {key: tf.constant(value) for key, value in raw.predict_on_batch(x).items()}
    layers = {layer.name: layer for layer in model.serving(**settings).layers}
    if "decode" in layers:
        decode = tf.function(layers["decode"])
        return timed(lambda: decode(raw["logits"], raw["deltas"])["scores"].numpy())
    propose, decode = tf.function(layers["proposals"]), tf.function(layers["decode_regions"])
    regions, _ = propose(raw["objectness"], raw["deltas"])
    head = tf.function(lambda raw, regions: model.box_head(model.pool(model.features(raw), regions)))(raw, regions)

    def after():
        propose(raw["objectness"], raw["deltas"])[1].numpy()
        decode(head["logits"], head["deltas"], regions)["scores"].numpy()

    return timed(after)


def ours_classifier(case, options):
    """Weights as Keras draws them: what they are does not change the time, and nothing is suppressed."""
    from visionkit.backbones import BACKBONES
    from visionkit.models import Classifier

    size, batches, _ = CASES[case]
    model = Classifier(BACKBONES[case](), 1000, image_size=size)
    serving = model.serving()
    serving.jit_compile = False
    calls = {}
    for batch in batches:
        x = scene(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: serving.predict_on_batch(x))
    return calls | exported(model, case, options)


def exported(model, case, options):
    """Inference by the exports of a model, which are written in the first call if they are not there."""
    import tempfile

    from visionkit.export import EXPORTERS

    kept = tempfile.TemporaryDirectory() if options.exports is None else None  # as long as the calls
    loaded = {}

    def load(name):
        if name not in loaded:
            folder = Path(kept.name if kept else options.exports) / f"{case}-{name}"
            if not folder.exists():
                part = folder.with_suffix(".part")
                EXPORTERS[name].save(model, part)
                part.rename(folder)
            loaded[name] = EXPORTERS[name].load(folder)
        return loaded[name]

    calls = {"prepare": timed(lambda: [load(name) for name in options.runtime])}
    for name in options.runtime:
        for batch in CASES[case][1]:
            x = scene(case, batch)
            calls[f"inference, batch {batch}, {name}"] = timed(lambda x=x, name=name: load(name).predict_on_batch(x))
    return calls


def ours_segmenter(case, options):
    import keras
    from support.drawn import drawn_tensor

    from visionkit.weights.convert import assign
    from visionkit.weights.segmenters import SEGMENTERS

    size, batches, train_batch = CASES[case]
    model = SEGMENTERS[case](21, image_size=size)
    shapes = json.loads(np.load(ROOT / "tests" / "golden" / "segmenters" / f"{case}.npz")["tensors"].tobytes())
    assign(model, {name: drawn_tensor(name, tuple(shape)) for name, shape in shapes.items()}, case)
    # The map of logits, as torchvision gives it; serving() has a softmax behind it.
    logits = keras.Model(model.input, model.output["logits"])
    logits.jit_compile = False
    model.compile(optimizer=keras.optimizers.SGD(1e-9, momentum=0.9), jit_compile=False)
    calls = {}
    for batch in batches:
        x = scene(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: logits.predict_on_batch(x))
    calls |= exported(model, case, options)  # with the softmax
    x, y = scene(case, train_batch), {"segmentation": classes(case, train_batch)}
    calls[f"training step, batch {train_batch}"] = timed(lambda: model.train_on_batch(x, y))
    return calls


def theirs_classifier(case):
    import torch
    from torchvision import models

    model = getattr(models, case)(weights=None).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def infer(x):
        with torch.inference_mode():
            model((x - mean[:, None, None]) / std[:, None, None]).softmax(dim=1).numpy()

    calls = {}
    for batch in CASES[case][1]:
        x = torch.from_numpy(scene(case, batch).transpose(0, 3, 1, 2).copy()) / 255
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
    return calls


def theirs_segmenter(case):
    """Training as in torchvision's references/segmentation/train.py: both maps, the auxiliary one half."""
    import torch
    from support.drawn import drawn_tensor
    from torch.nn.functional import cross_entropy
    from torchvision.models import segmentation

    _, batches, train_batch = CASES[case]
    model = getattr(segmentation, case)(weights=None, weights_backbone=None, aux_loss=True)
    drawn = {k: torch.from_numpy(drawn_tensor(k, tuple(v.shape))) for k, v in model.state_dict().items()}
    model.load_state_dict({k: v for k, v in drawn.items() if not k.endswith("num_batches_tracked")}, strict=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def images(batch):
        return torch.from_numpy(scene(case, batch).transpose(0, 3, 1, 2).copy()) / 255

    def normalised(x):  # a part of our network
        return (x - mean[:, None, None]) / std[:, None, None]

    def infer(x):
        model.eval()
        # Without its auxiliary head, as it is used; with weights="DEFAULT" torchvision keeps the head and computes it.
        head, model.aux_classifier = model.aux_classifier, None
        with torch.inference_mode():
            model(normalised(x))["out"].numpy()
        model.aux_classifier = head

    calls = {}
    for batch in batches:
        x = images(batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
    x, labels = images(train_batch), torch.from_numpy(classes(case, train_batch)).long()

    def step():
        model.train()
        optimizer.zero_grad()
        maps = model(normalised(x))
        losses = {key: cross_entropy(values, labels, ignore_index=255) for key, values in maps.items()}
        (losses["out"] + 0.5 * losses["aux"]).backward()
        optimizer.step()

    calls[f"training step, batch {train_batch}"] = timed(step)
    return calls


def theirs(case, threads):
    """As `ours`, run in torchvision's environment."""
    import torch
    from torchvision.models import detection
    from torchvision.ops import batched_nms

    torch.set_num_threads(threads)
    if case == "nms":
        boxes, scores = map(torch.from_numpy, candidates())

        def suppress():  # as SSD.postprocess_detections does
            best, index = zip(*(s[s > NMS["score_threshold"]].topk(NMS["top_k"]) for s in scores.T), strict=True)
            index = [torch.where(s > NMS["score_threshold"])[0][i] for s, i in zip(scores.T, index, strict=True)]
            labels = torch.arange(20).repeat_interleave(NMS["top_k"])
            batched_nms(boxes[torch.cat(index)], torch.cat(best), labels, NMS["iou_threshold"])[: NMS["keep"]]

        return {"batch 1": timed(suppress)}

    if case.startswith("fcn"):
        return theirs_segmenter(case)
    if case in CLASSIFIERS:
        return theirs_classifier(case)

    from support.drawn import drawn_detector_tensor

    size, batches, train_batch = CASES[case]
    sizes = {} if case.startswith("ssd") else {"min_size": min(size), "max_size": max(size)}
    model = getattr(detection, case)(weights=None, weights_backbone=None, **sizes)
    drawn = {k: torch.from_numpy(drawn_detector_tensor(k, tuple(v.shape))) for k, v in model.state_dict().items()}
    model.load_state_dict({k: v for k, v in drawn.items() if not k.endswith("num_batches_tracked")}, strict=False)
    seconds = []

    def watch(owner, name):
        method = getattr(owner, name)

        def watched(*args):
            start = now()
            result = method(*args)
            seconds.append(now() - start)
            return result

        setattr(owner, name, watched)

    if case.startswith("ssd"):
        watch(model, "postprocess_detections")
    else:
        watch(model.rpn, "filter_proposals")
        watch(model.roi_heads, "postprocess_detections")

    def infer(x):
        model.eval()
        with torch.inference_mode():
            return model(x)

    def after(x):
        seconds.clear()
        infer(x)
        return sum(seconds).tolist()

    def images(batch):
        return list(torch.from_numpy(scene(case, batch).transpose(0, 3, 1, 2).copy()) / 255)

    calls = {}
    for batch in batches:
        x = images(batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
        calls[f"post-processing, batch {batch}"] = lambda x=x: after(x)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-5, momentum=0.9)
    boxes, labels = map(torch.from_numpy, objects(case, train_batch))
    y = [{"boxes": b, "labels": k.long() + 1} for b, k in zip(boxes, labels, strict=True)]
    x = images(train_batch)

    def step():
        model.train()
        optimizer.zero_grad()
        sum(model(x, y).values()).backward()
        optimizer.step()

    calls[f"training step, batch {train_batch}"] = timed(step)
    return calls


if __name__ == "__main__":
    sys.exit(main())
