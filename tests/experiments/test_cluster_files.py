"""The cluster files are what Ray's launcher, AWS, and KubeRay take, and name the version of Ray that is tested."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.docs.blocks import check_command

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments" / "cluster"
LAUNCHED = ["local", "aws", "gcp"]
TEXT, NUMBER, YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def fields(required: list[str], **properties: Any) -> dict[str, Any]:
    """Schema of an object without other fields."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def items(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


CONTAINER = fields(
    ["name", "image"],
    name=TEXT,
    image=TEXT,
    env=items(fields(["name", "value"], name=TEXT, value=TEXT)),
    envFrom=items(fields([], secretRef=fields(["name"], name=TEXT))),
    ports=items(fields(["containerPort"], containerPort=NUMBER, name=TEXT)),
    resources=fields([], requests=TEXTS, limits=TEXTS),
)
TEMPLATE = fields(["spec"], spec=fields(["containers"], containers=items(CONTAINER)))
RAY_JOB = fields(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields([], name=TEXT, generateName=TEXT),
    spec=fields(
        ["rayClusterSpec"],
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes=YES,
        ttlSecondsAfterFinished=NUMBER,
        backoffLimit=NUMBER,
        activeDeadlineSeconds=NUMBER,
        rayClusterSpec=fields(
            ["headGroupSpec"],
            rayVersion=TEXT,
            enableInTreeAutoscaling=YES,
            headGroupSpec=fields(["template"], rayStartParams=TEXTS, template=TEMPLATE, serviceType=TEXT),
        ),
    ),
)
"""Of the fields that the file may use; from KubeRay's documented API, docs/reference/api.md, and Kubernetes'."""


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_launcher_takes_them(name: str) -> None:
    prepared = prepare_config(load(name))
    for kind in prepared["available_node_types"].values():
        kind.setdefault("resources", {})  # of AWS, where Ray asks for them
    validate_config(prepared)
    assert prepared["cluster_name"] == f"maxent-{name}" and prepared["head_node_type"]


def test_the_launcher_would_refuse_a_wrong_one() -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate_config(prepare_config({**load("gcp"), "max_wrokers": 1}))


def test_aws_takes_its_machines() -> None:
    session = pytest.importorskip("botocore.session")
    validate = pytest.importorskip("botocore.validate")
    shape = session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for kind in load("aws")["available_node_types"].values():
        request = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        assert not validate.ParamValidator().validate(request, shape).has_errors()
        assert validate.ParamValidator().validate({**request, "InstanceTypo": "a"}, shape).has_errors()


def test_gcp_has_what_an_instance_needs() -> None:
    for kind in load("gcp")["available_node_types"].values():
        assert set(kind["node_config"]) == {"machineType", "disks"} and set(kind["resources"]) == {"CPU"}
        (disk,) = kind["node_config"]["disks"]
        assert disk["boot"] and disk["initializeParams"]["sourceImage"].startswith("projects/")


def test_kuberay_takes_the_job() -> None:
    job = load("kuberay")
    jsonschema.validate(job, RAY_JOB)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": {**job["spec"], "entryPoint": "python"}}, RAY_JOB)
    check_command(shlex.split(job["spec"]["entrypoint"]))


@pytest.mark.parametrize("name", [*LAUNCHED, "kuberay"])
def test_they_name_the_version_of_ray_that_is_tested(name: str) -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert pinned and set(re.findall(r"\b\d+\.\d+\.\d+(?=-py|\")", text)) <= {pinned[1]}


def test_the_local_one_ends_no_other_cluster() -> None:
    prepared = prepare_config(load("local"))
    commands = [*prepared["head_start_ray_commands"], *prepared["worker_start_ray_commands"]]
    assert commands and not any("ray stop" in command for command in commands)
