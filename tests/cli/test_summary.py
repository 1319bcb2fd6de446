"""What is said at the end of a training."""

import json
import shlex

from visionkit.cli import app
from visionkit.cli.summary import lacks_test_score, print_rest, print_summary


def finished(folder, rows, task="detect"):
    """A run folder as far as the summary reads it, and its results."""
    folder.mkdir()
    (folder / "history.csv").write_text(rows)
    (folder / "model.keras").write_bytes(b"x" * 2_500_000)
    results = {"epoch": 4, "task": task, "image_size": [288, 384], "parameters": 4_120_000, "mAP50": 0.5}
    results |= {"per_class": {"cat": {"mAP50": 0.25}, "dog": {"mAP50": 0.75}}}
    (folder / "results.json").write_text(json.dumps(results))
    return results


def test_the_end_names_scores_sizes_and_the_next_commands(tmp_path, capsys):
    out = tmp_path / "my run"
    rows = "epoch,loss,val_mAP50\n1,3,\n2,2,0.25\n3,2,\n4,2,0.5\n5,2,\n6,1,0.4375\n"
    print_summary(finished(out, rows), out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mAP50 0.5"
    assert [line.split() for line in lines[1:3]] == [["cat", "mAP50", "0.25"], ["dog", "mAP50", "0.75"]]
    assert lines[3:] == [
        "model.keras is that of epoch 4 of 6, the best by mAP50 (0.5); the last scores: 0.25 in epoch 2, "
        "0.5 in epoch 4, 0.4375 in epoch 6",
        "model.keras: 2.5 MB, 4.12 million parameters, images of 288x384; the run folder: 2.5 MB",
    ]
    print_rest(out, "", {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"run folder: {out}",
        "next:",
        f"  visionkit report '{out}'",
        f"  visionkit detect '{out}' IMAGES --out '{out}/predictions'",
        f"  visionkit export '{out}' --to onnx --out '{out}/onnx'",
    ]
    for line in printed[2:]:  # each is a command that the verb takes
        app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_a_run_without_scores_says_so(tmp_path, capsys):
    print_summary(finished(tmp_path / "run", "epoch,loss\n1,3\n2,2\n", "style"), tmp_path / "run")
    assert "of epoch 4 of 2, the last one; no images were held back to be scored on" in capsys.readouterr().out
    print_rest(tmp_path / "run", "", {})
    assert "IMAGES" not in capsys.readouterr().out


def test_only_finished_runs_of_finetune_can_lack_a_test_score(tmp_path):
    finished(tmp_path / "run", "epoch,loss\n1,3\n")
    assert not lacks_test_score(tmp_path / "run", "", {})
    assert not lacks_test_score(tmp_path, "detect", {"data": tmp_path})
