"""docs/kuberay.yaml: a job that KubeRay takes, with a command that visionkit takes."""

import re
import shlex

import yaml
from support.paths import ROOT

from visionkit.cli import app
from visionkit.cli.scale import Scale, is_at_scale

TEXT = (ROOT / "docs" / "kuberay.yaml").read_text()
JOB = yaml.safe_load(TEXT)
CLUSTER = JOB["spec"]["rayClusterSpec"]


def containers():
    groups = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_it_has_what_a_ray_job_needs_and_nothing_that_kuberay_does_not_know():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert JOB["metadata"]["name"]
    known = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
    assert set(JOB["spec"]) == known
    assert set(CLUSTER) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert set(CLUSTER["headGroupSpec"]) == {"rayStartParams", "template"}
    for group in CLUSTER["workerGroupSpecs"]:
        assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # Kubernetes refuses numbers


def test_strangers_cannot_run_programs_there_and_nothing_is_sent_home():
    assert CLUSTER["authOptions"] == {"mode": "token"}
    for container in containers():
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_all_pods_have_one_image_with_the_version_of_ray_that_is_tested():
    assert len({container["image"] for container in containers()}) == 1
    tested = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    assert CLUSTER["rayVersion"] == tested
    assert set(re.findall(r"\b2\.\d+\.\d+\b", TEXT)) == {tested}


def test_the_command_is_one_of_visionkits_for_a_cluster():
    program, *words = shlex.split(JOB["spec"]["entrypoint"])
    assert program == "visionkit"
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    given = bound.arguments
    assert command.__name__ == "detect"
    assert given["scale"] == Scale(engine="ray", address="auto", shard=4000)
    assert is_at_scale(given["scale"], given["images"], given["out"])
