"""Runs an export in a fresh process that has its runtime but neither Keras nor TensorFlow.

    python -m visionkit.export.alone EXPORT OUTPUT < LIST.json

LIST.json is a JSON list of image files. OUTPUT gets a pickled list: for each file its prediction, or an error.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import visionkit
from visionkit.export.verify import ExportError
from visionkit.predict.predictor import Failure, Prediction, Predictor


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Prediction | str]:
    """What the export in `folder` says of image files.

    Returns:
        For each file a prediction, or what was wrong with the image.

    Raises:
        ExportError: the process failed.
    """
    environment = os.environ | {"PYTHONPATH": search_path()}
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "predictions"
        command = [sys.executable, "-m", "visionkit.export.alone", str(Path(folder).absolute()), str(output)]
        listed = json.dumps([str(Path(file).absolute()) for file in files])
        done = subprocess.run(command, input=listed, capture_output=True, text=True, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise ExportError(f"{folder}: does not run in a fresh process: {lines[-1].strip()}")
        return pickle.loads(output.read_bytes())  # written by the lines below, a moment ago


def search_path() -> str:
    """PYTHONPATH for a process that is to find the same visionkit."""
    here = str(Path(visionkit.__file__).parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def main():
    from visionkit.export.load import load_exported

    folder, output = sys.argv[1:]
    predictor = Predictor(load_exported(folder), batch_size=2)
    results = predictor([Path(file) for file in json.load(sys.stdin)])
    results = [result.error if isinstance(result, Failure) else result for result in results]
    foreign = {"keras", "tensorflow", "jax"} & set(sys.modules)
    assert not foreign, f"the export was to run without {foreign}"
    Path(output).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main()
