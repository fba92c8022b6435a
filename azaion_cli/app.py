"""App: the command `azaion`, its sub-commands, and how their errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from azaion_cli.commands.batch import batch
from azaion_cli.commands.detect import detect
from azaion_cli.commands.models import cache
from azaion_cli.commands.models.bench import bench
from azaion_cli.commands.models.build import build
from azaion_cli.commands.models.eval import eval_
from azaion_cli.commands.models.inspect import inspect
from azaion_cli.commands.models.quantize import quantize
from azaion_cli.commands.service import cluster, keys
from azaion_cli.commands.service.deploy import deploy
from azaion_cli.commands.service.doctor import doctor
from azaion_cli.commands.service.serve import serve
from azaion_cli.commands.service.tune import tune
from azaion_cli.console import log_as_json, prepare_streams, say_error
from azaion_cli.exit_codes import EPILOG, ExitCode, exit_code_of
from azaion_cli.library_lines import library_lines_as_json
from azaion_engine.errors import AzaionError
from azaion_engine.version import __version__

_IN_ONE_PROCESS = ("batch", "build", "cache", "detect", "doctor", "eval", "inspect", "quantize")
"""Commands that leave no process behind, which would lose its stderr."""

app = typer.Typer(
    name="azaion",
    help="Object detection on NVIDIA GPUs: ONNX in, TensorRT engines and boxes out.",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (doctor, build, inspect, detect, batch, eval_, quantize, bench, tune, serve, deploy):
    app.command(_command.__name__.rstrip("_"), epilog=EPILOG)(_command)
app.add_typer(cache.app, name="cache")
app.add_typer(cluster.app, name="cluster")
app.add_typer(keys.app, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"azaion-engine {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; expected errors are one line on stderr.

    Args:
        arguments: The command line without the program's name; default: `sys.argv`.
    """
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given  # read here: an error may come before the options are parsed
    log_as_json(as_json)
    with _ended_by_sigterm():
        if as_json and given[0] in _IN_ONE_PROCESS:
            with library_lines_as_json():
                return _run(given, as_json)
        return _run(given, as_json)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM, which service managers send, end a command as Ctrl+C does: half-written files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(given: list[str], as_json: bool) -> int:
    try:
        result = app(args=given or ["--help"], prog_name="azaion", standalone_mode=False)
        sys.stdout.flush()
        return int(result or ExitCode.OK)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # Typer itself answers a closed pipe with SystemExit
        _drop_output()
        return ExitCode.PIPE_CLOSED
    except Exception as error:
        code, name, message = _explain(error)
        if code is ExitCode.BUG or {"--verbose", "-v"} & set(given):
            traceback.print_exc()
        say_error(name, message, as_json=as_json)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk, or no stdout at all
            _drop_output()
        return code


def _drop_output() -> None:
    """Drops what stdout could not take: else Python, at exit, reports it again and exits with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> tuple[ExitCode, str, str]:
    """Returns exit code, short name and message of an error that ended a command."""
    if isinstance(error, typer.TyperException):
        return ExitCode.USAGE, "usage", error.format_message()
    if isinstance(error, AzaionError):
        return exit_code_of(error), error.code, str(error)
    if isinstance(error, OSError):
        return ExitCode.ENVIRONMENT, "system", str(error)
    return ExitCode.BUG, "bug", f"{type(error).__name__}: {error}"
