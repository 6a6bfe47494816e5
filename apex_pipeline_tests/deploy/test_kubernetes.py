"""The files for Kubernetes, held to the schemas of Kubernetes, of the chart and of Dagster.

Helm renders nothing here: the pods of the chart are put together as its templates do.
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.storage.dagster_run import DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from jsonschema import Draft202012Validator
from kubernetes.client import ApiClient

from apex_pipeline.settings import FILE_SUFFIX, VARIABLES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load(
    (BASE / "kustomization.yaml").read_text(encoding="utf-8")
)
VALUES: dict[str, Any] = yaml.safe_load(
    (FOLDER / "values.yaml").read_text(encoding="utf-8")
)
CLOUD: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy" / "dagster_cloud.yaml").read_text(encoding="utf-8")
)
(USER,) = VALUES["dagster-user-deployments"]["deployments"]
(LOCATION,) = CLOUD["locations"]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
# The oldest and the newest whose schemas are at hand; older ones have no support.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
MANIFESTS = [
    document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((BASE / name).read_text(encoding="utf-8"))
]


def named(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (
        each
        for each in MANIFESTS
        if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


def pod(container: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A Deployment with what the values say of a pod."""
    probes = {
        name: {key: value for key, value in given[name].items() if key != "enabled"}
        for name in ("readinessProbe", "livenessProbe", "startupProbe")
        if name in given
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": container["name"]},
        "spec": {
            "selector": {"matchLabels": given["labels"]},
            "template": {
                "metadata": {"labels": given["labels"]},
                "spec": {
                    "securityContext": given["podSecurityContext"],
                    "volumes": given["volumes"],
                    "containers": [
                        container
                        | probes
                        | {
                            "env": given.get("env", []),
                            "envFrom": [
                                {"configMapRef": each}
                                for each in given.get("envConfigMaps", [])
                            ],
                            "volumeMounts": given["volumeMounts"],
                            "securityContext": given["securityContext"],
                            "resources": given["resources"],
                        }
                    ],
                },
            },
        },
    }


def of_values(name: str, given: dict[str, Any]) -> dict[str, Any]:
    image = given["image"]
    container = {
        "name": name,
        "image": f"{image['repository']}:{image['tag']}",
        "imagePullPolicy": image["pullPolicy"],
    }
    return pod(container, given)


DEPLOYMENTS = {
    "code-server": of_values("code-server", USER),
    "daemon": of_values("daemon", VALUES["dagsterDaemon"]),
    "webserver": of_values("webserver", VALUES["dagsterWebserver"]),
    "panel": named("Deployment", "apex-panel"),
}


def run_job(context: K8sContainerContext) -> dict[str, Any]:
    """The job of a run, as Dagster's launcher makes it."""
    image = DEPLOYMENTS["code-server"]["spec"]["template"]["spec"]["containers"][0]
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=image["image"],
            dagster_home=VALUES["global"]["dagsterHome"],
            instance_config_map="dagster-instance",
            postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
        ),
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        context.run_k8s_config,
    )
    made: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return made


def context_of_values() -> K8sContainerContext:
    """What the chart gives to each run of the deployment, and to each run at all."""
    launcher = {
        "image_pull_policy": LAUNCHER["imagePullPolicy"],
        "resources": LAUNCHER["resources"],
        "security_context": LAUNCHER["securityContext"],
        "run_k8s_config": {
            "pod_spec_config": LAUNCHER["runK8sConfig"]["podSpecConfig"],
            "pod_template_spec_metadata": LAUNCHER["runK8sConfig"][
                "podTemplateSpecMetadata"
            ],
            "job_spec_config": LAUNCHER["runK8sConfig"]["jobSpecConfig"],
        },
    }
    config_type = K8sRunLauncher.config_type()
    required = {
        "instance_config_map": "dagster-instance",
        "dagster_home": VALUES["global"]["dagsterHome"],
        "service_account_name": "dagster",
    }
    checked = process_config(config_type, launcher | required)
    assert checked.success, checked.errors
    of_deployment = {
        "env_config_maps": [each["name"] for each in USER["envConfigMaps"]],
        "env": USER["env"],
        "volumes": USER["volumes"],
        "volume_mounts": USER["volumeMounts"],
    }
    return K8sContainerContext.create_from_config({"k8s": launcher}).merge(
        K8sContainerContext.create_from_config({"k8s": of_deployment})
    )


JOBS = {
    "run": run_job(context_of_values()),
    "run of Dagster+": run_job(
        K8sContainerContext.create_from_config(LOCATION["container_context"])
    ),
    "migrate": named("Job", "apex-migrate"),
}
WORKLOADS = DEPLOYMENTS | JOBS


def spec_of(workload: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[workload]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest",
    [*MANIFESTS, *WORKLOADS.values()],
    ids=lambda each: f"{each['kind']} {each['metadata']['name']}",
)
def test_kubernetes_takes_each_manifest(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_values_use_keys_of_the_chart():
    schema = json.loads(
        (Path(__file__).parent / "dagster_chart.schema.json").read_text()
    )
    Draft202012Validator(schema).validate(VALUES)


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_pod_may_change_nothing_but_its_volumes(workload):
    for container in spec_of(workload)["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_pod_runs_as_the_user_of_the_image(workload):
    context = spec_of(workload)["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] == 10001
    assert "USER 10001:10001" in (ROOT / "deploy" / "Dockerfile").read_text()


# As in Compose: what each process may know.
SECRETS = {
    "code-server": {"database_url", "dagster_postgres_url", "azure_client_secret"},
    "run": {"database_url", "dagster_postgres_url", "azure_client_secret"},
    "run of Dagster+": {"database_url", "dagster_postgres_url", "azure_client_secret"},
    "panel": {"database_url", "azure_client_secret", "panel_token"},
    "migrate": {"database_url"},
    "daemon": set(),
    "webserver": set(),
}


@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_a_pod_gets_its_own_secrets_alone_by_variables_that_the_program_reads(workload):
    spec = spec_of(workload)
    mounted = {
        item["key"]
        for volume in spec["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    }
    assert mounted == SECRETS[workload]
    (container,) = spec["containers"]
    secret = {variable.name for variable in VARIABLES if variable.is_secret}
    given = {each["name"]: each.get("value") for each in container.get("env", [])}
    files = {
        value.removeprefix("/run/secrets/apex/")
        for name, value in given.items()
        if name.removesuffix(FILE_SUFFIX) in secret and name.endswith(FILE_SUFFIX)
    }
    assert files == mounted
    assert not secret & given.keys()


def test_a_run_belongs_to_the_code_location_of_its_code_server():
    name = USER["name"]
    arguments = USER["dagsterApiGrpcArgs"]
    assert arguments[arguments.index("--location-name") + 1] == name
    for workload in ("code-server", "run"):
        (container,) = spec_of(workload)["containers"]
        variables = {each["name"]: each.get("value") for each in container["env"]}
        assert variables["DAGSTER_LOCATION_NAME"] == name


def instance_of_values() -> dict[str, Any]:
    """The part of dagster.yaml that the chart writes from the values."""
    daemon = VALUES["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert not daemon["runMonitoring"]["enabled"]
    assert not daemon["runRetries"]["enabled"]
    return {
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {
                "max_concurrent_runs": queue["maxConcurrentRuns"],
                "dequeue_interval_seconds": queue["dequeueIntervalSeconds"],
            },
        },
        "python_logs": {
            "python_log_level": VALUES["pythonLogs"]["pythonLogLevel"],
            "managed_python_loggers": VALUES["pythonLogs"]["managedPythonLoggers"],
        },
        **{
            kind: {
                "use_threads": daemon[kind]["useThreads"],
                "num_workers": daemon[kind]["numWorkers"],
            }
            for kind in ("schedules", "sensors")
        },
        "retention": {
            kind: {"purge_after_days": VALUES["retention"][kind]["purgeAfterDays"]}
            for kind in ("schedule", "sensor")
        },
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    }


def test_the_instance_is_set_as_our_own_is():
    written = instance_of_values()
    checked = process_config(dagster_instance_config_schema(), written)
    assert checked.success, checked.errors
    ours = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    queue = written.pop("run_coordinator")["config"]
    runs = ours["concurrency"].pop("runs")
    wanted = ours.pop("run_queue")
    # The chart has no value for these two.
    del wanted["max_user_code_failure_retries"]
    del wanted["user_code_failure_retry_delay"]
    assert queue == runs | wanted
    assert VALUES["computeLogManager"]["type"] == ours.pop("compute_logs")["class"]
    del ours["storage"]
    assert written == ours


def test_policies_let_in_what_a_process_needs_and_name_pods_that_exist():
    roles = {
        value
        for workload in (
            "code-server",
            "daemon",
            "webserver",
            "panel",
            "run",
            "migrate",
        )
        for key, value in WORKLOADS[workload]["spec"]["template"]["metadata"][
            "labels"
        ].items()
        if key == "apex-pipeline/role"
    }
    assert roles == {"code-server", "daemon", "webserver", "panel", "run", "migrate"}
    ports = {}
    for policy in (each for each in MANIFESTS if each["kind"] == "NetworkPolicy"):
        role = policy["spec"]["podSelector"].get("matchLabels", {})
        for rule in policy["spec"]["ingress"]:
            (port,) = rule["ports"]
            ports[role["apex-pipeline/role"]] = port["port"]
    assert ports == {"code-server": USER["port"], "webserver": 3000, "panel": 3100}
    assert VALUES["dagsterWebserver"]["service"]["port"] == ports["webserver"]


def test_one_image_and_tag_run_everything():
    (image,) = KUSTOMIZATION["images"]
    wanted = f"{image['name']}:{image['newTag']}"
    for workload in WORKLOADS:
        (container,) = spec_of(workload)["containers"]
        assert container["image"] in {wanted, image["name"]}
    assert LOCATION["image"] == wanted


LOCKED: dict[str, Any] = yaml.safe_load(
    (FOLDER / "locked-runs.yaml").read_text(encoding="utf-8")
)
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://kubernetes.example"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""


@pytest.fixture
def locked(tmp_path: Path) -> K8sRunLauncher:
    """The launcher of the locked values, outside of a cluster."""
    chosen = LOCKED["runLauncher"]["config"]["customRunLauncher"]
    assert (chosen["module"], chosen["class"]) == ("dagster_k8s", "K8sRunLauncher")
    checked = process_config(K8sRunLauncher.config_type(), chosen["config"])
    assert checked.success, checked.errors
    assert checked.value
    (tmp_path / "config").write_text(KUBECONFIG)
    outside = {
        "load_incluster_config": False,
        "kubeconfig_file": str(tmp_path / "config"),
    }
    made: K8sRunLauncher = K8sRunLauncher.from_config_value(
        None, {**checked.value, **outside}
    )
    return made


@pytest.mark.parametrize(
    "config",
    [
        {"container_config": {"image": "evil.example/image"}},
        {"container_config": {"env": [{"name": "A", "value": "b"}]}},
        {"pod_spec_config": {"service_account_name": "other"}},
        {"pod_template_spec_metadata": {"labels": {"apex-pipeline/role": "panel"}}},
        {"job_metadata": {"namespace": "other"}},
        {"job_spec_config": {"backoff_limit": 9}},
    ],
)
def test_with_the_locked_values_no_tag_changes_a_runs_pod(locked, config):
    tagged = DagsterRun("job", tags={"dagster-k8s/config": json.dumps(config)})
    with pytest.raises(Exception, match="violated the allowed list"):
        K8sContainerContext.create_for_run(tagged, locked, include_run_tags=True)


def test_with_the_locked_values_a_run_is_as_with_the_others(locked):
    """Except that its variables and volumes come from the launcher."""
    plain = DagsterRun("job", tags={"dagster/priority": "1"})
    context = K8sContainerContext.create_for_run(plain, locked, include_run_tags=True)
    made, usual = run_job(context), deepcopy(JOBS["run"])
    kubernetes_validate.validate(made, VERSIONS[-1], strict=True)
    found, expected = (each["spec"]["template"]["spec"] for each in (made, usual))
    (container,), (other,) = found.pop("containers"), expected.pop("containers")

    def variables(each: dict[str, Any]) -> dict[str, Any]:
        return {one["name"]: one for one in each.pop("env")}

    assert variables(container) == variables(other)
    for each in (container, other):
        # Kubernetes reads both alike.
        each["envFrom"].sort(key=json.dumps)
        each["volumeMounts"].sort(key=json.dumps)
    assert container == other
    for each in (found, expected):
        each["volumes"].sort(key=json.dumps)
    assert found.pop("serviceAccountName") == "dagster"
    expected.pop("serviceAccountName", None)
    assert found == expected
