"""The whole project: every file of `powerbi/`, and how far a folder is from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apex_pipeline.powerbi.identity import tag
from apex_pipeline.powerbi.model_tables import MODEL
from apex_pipeline.powerbi.pages import PAGES
from apex_pipeline.powerbi.pbir import SCHEMAS, report_files
from apex_pipeline.powerbi.tmdl import tmdl_files

NAME = "ApexCampaign"
MODEL_FOLDER, REPORT_FOLDER = f"{NAME}.SemanticModel", f"{NAME}.Report"


def project_files() -> dict[str, str]:
    """Every file of the project: path to text."""
    report = report_files(PAGES, MODEL_FOLDER)
    contents: dict[str, Mapping[str, Any]] = {
        f"{NAME}.pbip": {
            "$schema": f"{SCHEMAS}pbip/pbipProperties/1.0.0/schema.json",
            "version": "1.0",
            "artifacts": [{"report": {"path": REPORT_FOLDER}}],
            "settings": {"enableAutoRecovery": True},
        },
        f"{MODEL_FOLDER}/.platform": _platform("SemanticModel"),
        f"{MODEL_FOLDER}/definition.pbism": {
            "$schema": f"{SCHEMAS}item/semanticModel/definitionProperties/1.0.0/"
            "schema.json",
            "version": "4.1",
            "settings": {},
        },
        f"{REPORT_FOLDER}/.platform": _platform("Report"),
        **{f"{REPORT_FOLDER}/{path}": content for path, content in report.items()},
    }
    files = {path: _text(content) for path, content in contents.items()}
    model = tmdl_files(MODEL)
    files |= {f"{MODEL_FOLDER}/definition/{p}": text for p, text in model.items()}
    return dict(sorted(files.items()))


def _platform(kind: str) -> Mapping[str, Any]:
    return {
        "$schema": f"{SCHEMAS}gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": tag("platform", kind)},
    }


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_project(folder: Path) -> dict[str, str]:
    """The files of a project on disk, without what Desktop keeps for itself.

    Line endings are read as one: Desktop and git on Windows write others. What is no
    UTF-8 is read all the same; it differs from every file that is generated.
    """
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8-sig", "replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".pbi" not in path.relative_to(folder).parts
    }


def write_project(folder: Path) -> list[str]:
    """Write every file that differs, and remove files that are no longer generated.

    Returns:
        The paths that changed.
    """
    wanted = project_files()
    present = read_project(folder) if folder.is_dir() else {}
    changed = [path for path, text in wanted.items() if present.get(path) != text]
    for path in changed:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(wanted[path], encoding="utf-8", newline="\n")
    gone = sorted(path for path in present if _is_ours(path) and path not in wanted)
    for path in gone:
        (folder / path).unlink()
        _remove_empty((folder / path).parent)
    return changed + gone


def _remove_empty(folder: Path) -> None:
    """Remove a folder that nothing is left in, and those around it."""
    while not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _is_ours(path: str) -> bool:
    """Whether a file lies where only generated files do."""
    return path.startswith((f"{MODEL_FOLDER}/", f"{REPORT_FOLDER}/"))
