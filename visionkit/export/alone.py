"""Runs an export in a fresh process that has its runtime but neither Keras nor TensorFlow.

    python -m visionkit.export.alone EXPORT OUTPUT.npz < LIST.json

LIST.json is a JSON list of image files. OUTPUT.npz gets the answers, as `answers.write_answers` writes them.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from visionkit.export.answers import Answer, read_answers, write_answers
from visionkit.export.verify import ExportError
from visionkit.predict.predictor import Predictor
from visionkit.processes import run_python


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Answer | str]:
    """Runs the export in `folder` on image files in a fresh process.

    Returns:
        For each file its answer, or what was wrong with the image.

    Raises:
        ExportError: the process failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "answers.npz"
        arguments = ["-m", "visionkit.export.alone", str(Path(folder).absolute()), str(output)]
        ended = run_python(arguments, [Path(file).absolute() for file in files])
        if ended.failure:
            raise ExportError(f"{folder}: does not run in a fresh process: {ended.failure}")
        return read_answers(output, files)


def main() -> None:
    from visionkit.export.load import load_exported

    folder, output = sys.argv[1:]
    predictor = Predictor(load_exported(folder), batch_size=2)
    answers = list(predictor([Path(file) for file in json.load(sys.stdin)], failures="yield"))
    foreign = {"keras", "tensorflow", "jax"} & set(sys.modules)
    assert not foreign, f"the export was to run without {foreign}"
    write_answers(output, answers)


if __name__ == "__main__":
    main()
