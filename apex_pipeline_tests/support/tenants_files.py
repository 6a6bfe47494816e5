"""Files of tenants."""

import pytest

from apex_pipeline_tests.support.complete_settings import REAL


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "acme.env").write_text(
        "\n".join(f"{name}={value}" for name, value in REAL.items())
    )
    secrets = tmp_path / "globex"
    secrets.mkdir()
    for name, value in REAL.items():
        (secrets / name.lower()).write_text(f"{value.replace('org', 'other')}\n")
    (secrets / "DATABASE_URL").write_text("postgresql://u:p@db.example/globex")
    (secrets / "database_url").unlink()
    # As Kubernetes mounts them.
    (secrets / "..data").mkdir()
    return tmp_path


def write(folder, text='acme = "acme.env"\nglobex = "globex"'):
    path = folder / "tenants.toml"
    path.write_text(f"[tenants]\n{text}\n")
    return path
