"""torchvision's part of gpu.py, for an environment with torch: a job as JSON from stdin, JSON lines to stdout."""

import contextlib
import json
import sys

import torch
from gpu_cases import CASES, CLASSES, TINY, Case, images, rate, targets
from torch.nn.functional import cross_entropy
from torchvision import models
from torchvision.models import detection, segmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    job = json.load(sys.stdin)
    job.pop("what")
    for row in speed(**job):
        print(json.dumps(row), flush=True)


def speed(cases: list[str], tiny: bool, precision: str, compiled: bool, seconds: float):
    """The rows of `gpu_keras.speed`, eager or compiled; a measure that fails has an `error`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in cases:
        case = (TINY if tiny else CASES)[name]
        if tiny and case.kind != "classify":
            continue
        model = build(name, case).to(device)
        run = torch.compile(model) if compiled else model
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        for what, counts in (("inference", case.inference), ("training", (case.training,))):
            for count in counts:
                job = Call(model, run, optimizer, case, count, device, precision)
                row = {"case": name, "measure": f"{what}, batch {count}"}
                try:
                    row |= rate(job.infer if what == "inference" else job.step, count, seconds)
                except Exception as error:  # a compiler may refuse a model in any way
                    row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
                if device == "cuda":
                    row["peak_mb"] = torch.cuda.max_memory_allocated() >> 20
                yield row


def build(name: str, case: Case) -> torch.nn.Module:
    if case.kind == "classify":
        return getattr(models, name)(weights=None, num_classes=CLASSES)
    options = {"weights": None, "weights_backbone": None}
    if case.kind == "segment":
        return getattr(segmentation, name)(num_classes=CLASSES, aux_loss=True, **options)
    sizes = {} if name.startswith("ssd") else {"min_size": min(case.size), "max_size": max(case.size)}
    return getattr(detection, name)(num_classes=CLASSES + 1, **options, **sizes)


class Call:
    """One measure: from arrays in the host's memory to results there, as visionkit's side does it."""

    def __init__(self, model, run, optimizer, case, count, device, precision):
        self.model, self.run, self.optimizer, self.case, self.device = model, run, optimizer, case, device
        self.x = torch.from_numpy(images(case.size, count).transpose(0, 3, 1, 2).copy())  # [count, 3, H, W]
        self.y = {key: torch.from_numpy(value) for key, value in targets(case, count).items()}
        half = precision == "mixed_bfloat16"
        self.precision = lambda: torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext()

    def infer(self):
        self.model.eval()
        with torch.inference_mode(), self.precision():
            found = self.run(self._inputs())
        if self.case.kind == "classify":
            return found.float().softmax(dim=1).cpu()
        if self.case.kind == "segment":
            return found["out"].float().softmax(dim=1).cpu()
        return [{key: value.cpu() for key, value in one.items()} for one in found]

    def step(self):
        self.model.train()
        self.optimizer.zero_grad()
        y = {key: value.to(self.device) for key, value in self.y.items()}
        with self.precision():
            if self.case.kind == "classify":
                loss = cross_entropy(self.run(self._inputs()), y["label"].long())
            elif self.case.kind == "segment":
                maps = self.run(self._inputs())
                losses = {key: cross_entropy(value, y["segmentation"].long()) for key, value in maps.items()}
                loss = losses["out"] + 0.5 * losses["aux"]
            else:
                rows = zip(y["boxes"], y["labels"], strict=True)
                loss = sum(self.run(self._inputs(), [{"boxes": b, "labels": k.long() + 1} for b, k in rows]).values())
        loss.backward()
        self.optimizer.step()
        return float(loss)

    def _inputs(self):
        x = self.x.to(self.device).float() / 255
        if self.case.kind == "detect":  # torchvision's detectors normalise on their own
            return list(x)
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, STD))
        return (x - mean) / std


if __name__ == "__main__":
    main()
