"""The manifests of panel and migration, run by `podman kube play` on the built image."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from apex_pipeline_tests.support.waiting import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base"
IMAGE = "localhost/apex-pipeline:latest"
NAMED = "registry.example.com/apex-pipeline"
NAME = f"apex-kube-{os.getpid()}"
PASSWORD = "password-of-the-database"
TOKEN = "token-of-the-panel"
_MINUTES = 5 * 60.0
_ASK = """
import sys, urllib.request as r, urllib.error as e
asked = r.Request("http://127.0.0.1:3100" + sys.argv[1], headers={"Authorization": sys.argv[2]})
try:
    print(r.urlopen(asked, timeout=20).status)
except e.HTTPError as error:
    print(error.code)
"""


def podman(*arguments: str, check: bool = True, given: str | None = None) -> str:
    done = subprocess.run(
        ["podman", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((BASE / file).read_text()))


def playable(pod: dict[str, Any], secrets: Path) -> dict[str, Any]:
    """What this podman can run of a pod; everything that concerns rights stays."""
    for container in pod["containers"]:
        assert container["image"] == NAMED
        container |= {"image": IMAGE, "imagePullPolicy": "Never"}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            # Podman would run curl in the container, which the image has not.
            container.pop(probe, None)
        # Podman would publish them on this machine, where they may be taken.
        container.pop("ports", None)
        # A file system in memory at /tmp is what podman gives a read-only container.
        container["volumeMounts"] = [
            each for each in container["volumeMounts"] if each["name"] != "tmp"
        ]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != "tmp"]
    for volume in pod["volumes"]:
        if secret := volume.pop("secret", None):
            # Podman 4.3 mounts a secret's values undecoded.
            for item in secret["items"]:
                assert (secrets / item["key"]).is_file()
            volume["hostPath"] = {"path": str(secrets), "type": "Directory"}
    return pod


def variables() -> dict[str, Any]:
    """The config map that kustomize makes."""
    (generated,) = documents("kustomization.yaml")[0]["configMapGenerator"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generated["name"]},
        "data": dict(each.split("=", 1) for each in generated["literals"]),
    }


@dataclass(frozen=True, slots=True)
class Cluster:
    """Pods in a network of their own, beside a Postgres."""

    secrets: Path

    def play(self, *objects: dict[str, Any]) -> None:
        podman(
            *("kube", "play", "--network", NAME, "-"),
            given=yaml.safe_dump_all([variables(), *objects]),
        )

    def tables(self) -> str:
        return podman(
            *("exec", f"{NAME}-db", "psql", "--host", "/tmp", "--username", "apex"),
            *("--dbname", "apex", "--tuples-only", "--no-align", "--command"),
            "SELECT count(*) FROM pg_tables WHERE tablename = 'campaign_metrics'",
            check=False,
        ).strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("kube")
    folder.chmod(0o755)
    for name, text in {
        "password": PASSWORD,
        "database_url": f"postgresql://apex:{PASSWORD}@{NAME}-db/apex",
        "azure_client_secret": "secret-of-the-application",
        "panel_token": TOKEN,
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    found = Cluster(folder)
    podman("network", "create", NAME)
    try:
        podman(
            *("run", "--detach", "--name", f"{NAME}-db", "--network", NAME),
            *("--env", "POSTGRES_USER=apex", "--env", "POSTGRES_DB=apex"),
            *("--env", "POSTGRES_PASSWORD_FILE=/run/password"),
            *("--volume", f"{folder}/password:/run/password:ro"),
            *("--tmpfs", "/var/lib/postgresql"),
            "docker.io/library/postgres:18",
        )
        wait_until(lambda: found.tables() == "0", seconds=_MINUTES)
        yield found
    finally:
        for pod in ("apex-migrate", "apex-panel-pod", "apex-panel"):
            podman("pod", "rm", "--force", "--time", "0", pod, check=False)
        podman("rm", "--force", "--time", "0", f"{NAME}-db", check=False)
        podman("volume", "rm", "--force", "apex-pipeline-state", check=False)
        podman("network", "rm", "--force", NAME, check=False)


@pytest.fixture(scope="module")
def migrated(cluster: Cluster) -> Cluster:
    (job,) = documents("migrate-job.yaml")
    # The pod that a job starts; this podman knows no jobs.
    cluster.play(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": job["spec"]["template"]["metadata"] | job["metadata"],
            "spec": playable(job["spec"]["template"]["spec"], cluster.secrets),
        }
    )
    wait_until(lambda: cluster.tables() == "1", seconds=_MINUTES)
    return cluster


def test_the_panel_answers_over_the_tables_that_the_migration_made(migrated):
    deployment, *_ = documents("panel.yaml")
    deployment["spec"]["replicas"] = 1
    playable(deployment["spec"]["template"]["spec"], migrated.secrets)
    migrated.play(*documents("state-claim.yaml"), deployment)
    names = podman("ps", "--format", "{{.Names}}").split()
    (panel,) = [name for name in names if "apex-panel" in name and "panel" in name[-5:]]

    def asked(path: str, token: str = TOKEN) -> str:
        command = ("python3", "-c", _ASK, path, f"Bearer {token}")
        return podman("exec", panel, *command, check=False).strip()

    wait_until(lambda: asked("/healthz") == "200", seconds=_MINUTES)
    # The migration may still be at work on its other tables.
    wait_until(lambda: asked("/readyz") == "200", seconds=_MINUTES)
    assert asked("/readyz", "wrong") == "401"
    assert podman("exec", panel, "id", "-u").strip() == "10001"
    touched = podman("exec", panel, "sh", "-c", "touch /opt/x 2>&1 || echo refused")
    assert touched.splitlines()[-1] == "refused"
    logs = podman("logs", panel)
    assert [each for each in (PASSWORD, TOKEN) if each in logs] == []
