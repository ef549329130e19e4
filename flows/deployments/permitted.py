"""What a run of a deployment may set, as prefect.yaml says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from flows.deployments.permissions import VARIABLE, Permissions, permissions_of
from flows.run_context import deployment_name
from tasks.config.loading import find_config, load_settings
from tasks.config.overrides import Overrides
from tasks.config.settings import Settings


def find_permissions() -> Permissions | None:
    """Return the permissions of this run; None if it does not belong to a deployment.

    `wenti serve` passes on what it read in its prefect.yaml. In a work pool, it is the prefect.yaml
    in the working folder. If that does not know the deployment, the permissions are the default.

    Raises:
        ConfigError: there is no usable prefect.yaml.
    """
    name = deployment_name()
    if name is None:
        return None
    found = [one for one in _known_deployments() if one.get("name") == name]
    return permissions_of(found[0]) if found else Permissions()


def _known_deployments() -> list[dict[str, Any]]:
    told = os.environ.get(VARIABLE)
    listed = _read_listed() if told is None else json.loads(told)
    known = [one for one in listed if isinstance(one, dict)]
    return list(json.loads(json.dumps(known, default=str)))  # as parameters are sent


def _read_listed() -> list[object]:
    # Imported only here, because it imports SQLAlchemy and takes half a second.
    from flows.deployments.file import read_list

    return read_list(Path("prefect.yaml"))


def load_permitted(config: str, overrides: Overrides) -> tuple[Path, Settings]:
    """Return the file and the settings of a config, with those overrides that this run may set.

    Raises:
        ConfigError: the config or an override cannot be used, or may not be set.
    """
    permissions = find_permissions()
    if permissions is not None:
        overrides = permissions.apply(config, overrides)
    path = find_config(config)
    return path, load_settings(path, overrides)
