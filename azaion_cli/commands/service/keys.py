"""`azaion keys`: makes, lists and changes the keys that a service asks for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azaion_cli.console import make_table, print_json, print_table, say
from azaion_cli.exit_codes import EPILOG
from azaion_cli.options import JsonOption, VerboseOption, checked

if TYPE_CHECKING:
    from deployments.access.keys import Key

app = typer.Typer(help="Make, list and change the keys that a service asks for.", epilog=EPILOG)

FileOption = Annotated[
    Path, typer.Option("--file", "-f", help="File of keys: `access.keys_file` of the configuration.", dir_okay=False)
]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME", help="As `keys list` shows it.")]
DEFAULT_FILE = Path("keys.json")

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("add", epilog=EPILOG)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For log and metrics: letters, digits, and . _ -")],
    file: FileOption = DEFAULT_FILE,
    rate: Annotated[float | None, typer.Option("--rate", help="Pictures a second at most.")] = None,
    burst: Annotated[
        int | None, typer.Option("--burst", help="Pictures at once within the rate; default: those of one second.")
    ] = None,
    daily: Annotated[int | None, typer.Option("--daily", help="Pictures a day (UTC) at most.")] = None,
    share: Annotated[
        float | None, typer.Option("--share", help="Part of the queue that the key may take, above 0 to 1.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Of several models, only this one; may be given again."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="Until when: 2027-01-31, with a time, or 30d, 12h, 90m, 4w."),
    ] = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a key and print it, once: the file has only its hash. A running service knows it within a second."""
    from deployments.access.keys import Key, digest, new_secret
    from deployments.access.keys_file import edit_keys

    now = datetime.now(timezone.utc).replace(microsecond=0)
    secret = new_secret()
    limits = {"rate": rate, "burst": burst, "daily": daily, "share": share, "models": model}
    if burst is not None and rate is None:
        raise typer.BadParameter("it needs --rate", param_hint="'--burst'")
    until = None if expires is None else read_time(expires, now)
    key = checked(
        Key, {"name": name, "sha256": digest(secret), "created": now, "expires": until, "models": model, **limits}
    )
    with edit_keys(file) as keys:
        if any(known.name == name for known in keys):
            raise typer.BadParameter(f"there is a key {name!r} in {file} already; remove it first", param_hint="NAME")
        keys.append(key)
    if json_:
        print_json({"name": name, "key": secret, "file": str(file)})
    else:
        print(secret)
        say(f"the key {name} is in {file} as a hash; it cannot be shown again")


@app.command("list", epilog=EPILOG)
def list_keys(file: FileOption = DEFAULT_FILE, json_: JsonOption = False, verbose: VerboseOption = False) -> None:
    """List the keys and their limits."""
    from deployments.access.keys_file import KeysFile

    keys = KeysFile(file).listed()
    if json_:
        print_json({"file": str(file), "keys": [{**_described(key), "state": _state(key)} for key in keys]})
        return
    table = make_table(
        *("name", "state", "created", "expires", "rate", "daily", "share", "models"), right=("rate", "daily", "share")
    )
    for key in keys:
        limits = (key.rate, key.daily, key.share)
        numbers = ("-" if limit is None else f"{limit:g}" for limit in limits)
        expires = "-" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        table.add_row(
            key.name, _state(key), f"{key.created:%Y-%m-%d}", expires, *numbers, ", ".join(key.models or ["all"])
        )
    if keys:
        print_table(table)
    say(f"{len(keys)} keys in {file}")


@app.command("disable", epilog=EPILOG)
def disable(
    names: NamesArgument, file: FileOption = DEFAULT_FILE, json_: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Switch keys off: requests with them are answered 403 within a second."""
    _switch(names, file, json_, enabled=False)


@app.command("enable", epilog=EPILOG)
def enable(
    names: NamesArgument, file: FileOption = DEFAULT_FILE, json_: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Switch keys on again; an expired key stays expired."""
    _switch(names, file, json_, enabled=True)


@app.command("remove", epilog=EPILOG)
def remove(
    names: NamesArgument, file: FileOption = DEFAULT_FILE, json_: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Remove keys for ever: requests with them are answered 401 within a second."""
    from deployments.access.keys_file import edit_keys

    with edit_keys(file) as keys:
        _refuse_unknown(names, keys, file)
        keys[:] = [key for key in keys if key.name not in names]
    _tell("removed", names, file, json_)


def read_time(text: str, now: datetime) -> datetime:
    """Returns a time in UTC.

    Args:
        text: A date or time of ISO 8601, in UTC unless it says otherwise, or a number of minutes, hours, days, weeks.
        now: What such a number is counted from.

    Raises:
        typer.BadParameter: It is neither, or not after `now`.
    """
    try:
        if text[:-1].isdecimal() and text[-1] in _UNITS:
            then = now + timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        else:
            # Python before 3.11 knows no Z.
            then = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
            then = (then if then.tzinfo else then.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"expected a date as 2027-01-31 or a time from now as 30d, given {text!r}", param_hint="'--expires'"
        ) from error
    if then <= now:
        raise typer.BadParameter(f"expected a time in the future, given {text!r}", param_hint="'--expires'")
    return then


def _switch(names: list[str], file: Path, json_: bool, *, enabled: bool) -> None:
    from deployments.access.keys_file import edit_keys

    with edit_keys(file) as keys:
        _refuse_unknown(names, keys, file)
        keys[:] = [key.model_copy(update={"enabled": enabled}) if key.name in names else key for key in keys]
    _tell("enabled" if enabled else "disabled", names, file, json_)


def _refuse_unknown(names: list[str], keys: list[Key], file: Path) -> None:
    known = {key.name for key in keys}
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"no such key in {file}: {', '.join(map(repr, unknown))}", param_hint="NAME")


def _tell(what: str, names: list[str], file: Path, json_: bool) -> None:
    if json_:
        print_json({"file": str(file), what: names})
    else:
        say(f"{what}: {', '.join(names)}, in {file}")


def _described(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"sha256"})


def _state(key: Key) -> str:
    return "disabled" if not key.enabled else "expired" if key.expired() else "enabled"
