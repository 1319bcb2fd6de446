"""An exported SavedModel as TensorFlow Serving and saved_model_cli ask it."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from support.exports import detector

from visionkit.export import saved_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "1"
    saved_model.save(detector(), folder)
    return folder


def predict(signature, request: str) -> dict:
    """What TensorFlow Serving makes of a predict request in JSON, row or columnar form, and its answer's content.

    By its REST page: {"b64": text} stands for bytes; an instance is a value where there is but one input, else an
    object of named inputs; outputs whose first sizes agree come as one object an instance.
    """
    request = json.loads(request)
    (name,) = signature.structured_input_signature[1]
    if "instances" in request:
        rows = [row if "b64" in row else row[name] for row in request["instances"]]
    else:
        rows = request["inputs"] if isinstance(request["inputs"], list) else request["inputs"][name]
    outputs = signature(**{name: tf.constant([base64.b64decode(row["b64"]) for row in rows])})
    assert {len(value) for value in outputs.values()} == {len(rows)}
    columns = {key: [_json(item) for item in value.numpy()] for key, value in outputs.items()}
    if "inputs" in request:
        return json.loads(json.dumps({"outputs": columns}))
    return json.loads(json.dumps({"predictions": [{k: v[i] for k, v in columns.items()} for i in range(len(rows))]}))


def _json(values):
    values = values.tolist()
    return [v.decode() if isinstance(v, bytes) else v for v in values] if isinstance(values, list) else values


def test_the_predict_request_in_its_forms(folder, photos):
    loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["serving_default"]
    rows = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in photos[:2]]
    bare = predict(signature, json.dumps({"instances": rows}))["predictions"]
    named = predict(signature, json.dumps({"instances": [{"image_bytes": row} for row in rows]}))["predictions"]
    columns = predict(signature, json.dumps({"inputs": {"image_bytes": rows}}))["outputs"]
    assert len(bare) == 2 and max(bare[0]["scores"]) > 0.3
    assert bare == named == [{key: column[i] for key, column in columns.items()} for i in range(2)]
    assert {"boxes", "scores", "labels", "class_names", "image_size"} <= set(bare[0])


def test_saved_model_cli_runs_it(folder, photos, tmp_path):
    data = photos[0].read_bytes()
    assert not data.endswith(b"\0")  # numpy's strings would lose it
    np.save(tmp_path / "bytes.npy", np.array([data]))
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", folder]
    chosen = ["--tag_set", "serve", "--signature_def", "serving_default"]
    files = ["--inputs", f"image_bytes={tmp_path / 'bytes.npy'}", "--outdir", tmp_path]
    done = subprocess.run([*cli, *chosen, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = tf.saved_model.load(folder)
    expected = loaded.signatures["serving_default"](image_bytes=tf.constant([data]))
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected[name].numpy(), atol=1e-4)
