"""Collect the secrets of this configuration, to check that they appear nowhere."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from apex_pipeline.settings import VARIABLES, read_variable, secret_parts
from apex_pipeline.texts.redaction import Redactor


def read_all_secrets(environment: Mapping[str, str], token_cache: Path) -> Redactor:
    """Collect the values of secret variables, and the cached access tokens."""
    found = Redactor(_tokens(token_cache))
    for variable in VARIABLES:
        value = read_variable(environment, variable.name)
        if variable.is_secret and value:
            found.remember(*secret_parts(value))
    return found


def _tokens(path: Path) -> Iterable[str]:
    try:
        cache = json.loads(path.read_text())
        return [str(entry["secret"]) for entry in cache["AccessToken"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # There is no cache, or it is damaged; the pipeline then replaces it.
        return ()
