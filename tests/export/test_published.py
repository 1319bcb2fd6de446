"""Published weights are exported by their name, like a run."""

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from support import tiny_classifier

from visionkit.cli import main
from visionkit.export.keras_file import load_task
from visionkit.open_model import as_keras_file
from visionkit.weights.cards import CARDS


def test_they_are_saved_for_as_long_as_they_are_needed(monkeypatch, tmp_path, capsys):
    model = tiny_classifier.recipe().model
    monkeypatch.setattr("visionkit.open_model._published", lambda card, batch_size: SimpleNamespace(model=model))
    name = next(iter(CARDS))
    with as_keras_file(Path(name)) as file:
        image = np.full((1, 6, 6, 1), 7, np.uint8)
        said, saved = model.predict_on_batch(image), load_task(file).predict_on_batch(image)
        np.testing.assert_array_equal(saved["logits"], said["logits"])
    assert not file.exists()
    assert main(["export", name, "--to", "keras_file", "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "export_report.json").read_text())["verdict"] == "passed"
    assert keras.saving.load_model(tmp_path / "out" / "model.keras").count_params() == model.count_params()
