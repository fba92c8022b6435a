"""Check of a Serve configuration, without starting anything."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import yaml

from azaion_cli.checks.check import Check
from azaion_cli.checks.repeated_key import repeated_key
from azaion_cli.options import faults_of

_BUILDER = "deployments.app:build"


def configuration_check(path: Path) -> Check:
    """Checks a configuration file as Serve and the service would when they start."""
    from pydantic import ValidationError

    name = "configuration"
    try:
        from ray.serve.schema import ServeDeploySchema

        text = path.read_text()
        config = ServeDeploySchema.model_validate(yaml.safe_load(text))
        if twice := repeated_key(text):
            return Check(name, "problem", f"{path}: {twice}", "remove one: the last is taken")
        for application in config.applications:
            if application.import_path != _BUILDER:
                continue
            settings = import_module("deployments.settings").ApplicationSettings(**application.args)
            models = [settings.of_model(each).model for each in settings.models or ()] or [settings.model]
            for model in models:
                if model != "demo" and not os.path.isfile(os.path.expanduser(model)):
                    return Check(name, "problem", f"{path}: there is no file {model}", "correct `model`")
    except ValidationError as error:
        keys = import_module("deployments.settings").ApplicationSettings.model_fields
        return Check(
            name, "problem", f"{path}: {faults_of(error, keys)[0]}", "docs/reference/configuration.md has every key"
        )
    except (ImportError, OSError, ValueError, TypeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        return Check(name, "problem", f"{path}: {said}", "serve_config.yaml of the project is a valid one")
    host, port = config.http_options.host, config.http_options.port
    return Check(name, "ok", f"{path}, HTTP on {host}:{port}")
