"""Page of the errors: every error class with its code, its statuses and its meaning."""

from __future__ import annotations

import importlib
import inspect

import azaion_client.errors
from azaion_cli.exit_codes import exit_code_of
from azaion_engine.errors import AzaionError
from deployments.errors import status_of
from deployments.frontends.failures import Failure
from deployments.frontends.open_inference.grpc_service import grpc_code_of
from docs.generator.tables import code, page, table

_MODULES = ("azaion_engine.errors", "deployments.errors", "azaion_cli.tuning.measurement")


def errors() -> str:
    """Returns the page."""
    return page(
        "Errors",
        "the error classes",
        'Every error of a request is `{"error": {"code": …, "message": …, "status": …}}`; the code never changes '
        "once released, the message is for people. Where a row has the status 500 the fault is the operator's. The "
        "exit code is that of [a command](files.md#errors-and-exit-codes) which the error ends; its message has the "
        "same code.",
        table(
            ("code", "class", "HTTP", "gRPC", "exit code", ""),
            (
                (
                    code(kind.code),
                    code(kind.__name__),
                    str(status_of(_raised(kind))),
                    grpc_code_of(Failure(kind.code, "", status_of(_raised(kind)))),
                    "" if kind.__module__ == "deployments.errors" else str(int(exit_code_of(_raised(kind)))),
                    _first(kind),
                )
                for kind in error_classes()
            ),
        ),
        "HTTP itself adds `bad_request` (400), `not_found` (404) and `method_not_allowed` (405), and `internal` (500), "
        "an unexpected error whose text only the log has.",
        "## Exceptions of `azaion_client`",
        table(
            ("class", "is a", ""), ((code(k.__name__), code(k.__mro__[1].__name__), _first(k)) for k in client_errors())
        ),
    )


def error_classes() -> list[type[AzaionError]]:
    """Returns every error class that has a code of its own or none of its parents', in the order of the modules."""
    found = [
        value
        for module in _MODULES
        for value in vars(importlib.import_module(module)).values()
        if inspect.isclass(value) and issubclass(value, AzaionError) and value.__module__ == module
    ]
    return [kind for kind in found if "code" in vars(kind)]


def client_errors() -> list[type[BaseException]]:
    """Returns the client's exception classes, in the order of the module."""
    return [
        value
        for value in vars(azaion_client.errors).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == "azaion_client.errors"
    ]


def _raised(kind: type[AzaionError]) -> AzaionError:
    return kind.__new__(kind)


def _first(kind: type[BaseException]) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0]
