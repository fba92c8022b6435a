"""Kustomizations of this repository, resolved without `kubectl`: what they use of kustomize; strict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "labels", "images", "patches", "configMapGenerator"}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML's own loader takes the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{node.start_mark}: {twice} twice")
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_all(path: Path) -> list[Any]:
    """Returns the documents of a YAML file."""
    return [document for document in yaml.load_all(path.read_text(), _StrictLoader) if document is not None]


def resolve(folder: Path) -> list[Resource]:
    """Returns the resources that `kubectl kustomize FOLDER` prints, in any order.

    Raises:
        ValueError: The kustomization has a key that is not known here, or a patch that fits no resource.
    """
    [file] = [folder / name for name in ("kustomization.yaml", "kustomization.yml") if (folder / name).exists()]
    [known] = load_all(file)
    if unknown := set(known) - KNOWN:
        raise ValueError(f"{file}: not known here: {unknown}")
    found: list[Resource] = []
    for name in known.get("resources", []):
        path = (folder / name).resolve()
        found += resolve(path) if path.is_dir() else load_all(path)
    for generator in known.get("configMapGenerator", []):
        found.append(_config_map(folder, generator))
    for patch in known.get("patches", []):
        _patch(found, patch, load_all(folder / patch["path"]))
    for labels in known.get("labels", []):
        if set(labels) != {"pairs"}:
            raise ValueError(f"{file}: labels: only pairs, into metadata alone")
        for resource in found:
            resource["metadata"].setdefault("labels", {}).update(labels["pairs"])
    for image in known.get("images", []):
        for container in _containers(found):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return found


def _config_map(folder: Path, generator: dict[str, Any]) -> Resource:
    options = generator["options"]
    if set(generator) != {"name", "files", "options"} or options.get("disableNameSuffixHash") is not True:
        raise ValueError(f"{folder}: a generator of files without a hash in its name, given {generator}")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"], "labels": dict(options["labels"])},
        "data": {name: (folder / name).read_text() for name in generator["files"]},
    }


def _patch(resources: list[Resource], patch: dict[str, Any], documents: list[Any]) -> None:
    [document] = documents
    if isinstance(document, list):
        wanted = (patch["target"]["kind"], patch["target"]["name"])
        for operation in document:
            _apply(_only(resources, wanted), operation)
    else:
        _merge(_only(resources, (document["kind"], document["metadata"]["name"])), document)


def _only(resources: list[Resource], wanted: tuple[str, str]) -> Resource:
    fitting = [each for each in resources if (each["kind"], each["metadata"]["name"]) == wanted]
    if len(fitting) != 1:
        raise ValueError(f"a patch of {wanted} fits {len(fitting)} resources")
    return fitting[0]


def _apply(resource: Resource, operation: dict[str, Any]) -> None:
    """Applies an operation of a JSON patch (RFC 6902): `add` or `replace`."""
    *way, last = operation["path"].strip("/").split("/")
    place: Any = resource
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if operation["op"] == "replace" and last not in place:
        raise ValueError(f"{operation['path']} is not there to be replaced")
    if operation["op"] not in ("add", "replace") or isinstance(place, list):
        raise ValueError(f"not known here: {operation}")
    place[last] = operation["value"]


def _merge(resource: Resource, patch: dict[str, Any]) -> None:
    """Applies a JSON merge patch (RFC 7386), as kustomize does to kinds that it has no schema of."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(resource.get(key), dict):
            _merge(resource[key], value)
        else:
            resource[key] = value


def _containers(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for each in value for found in _containers(each)]
    if not isinstance(value, dict):
        return []
    return [*value.get("containers", []), *(found for each in value.values() for found in _containers(each))]
