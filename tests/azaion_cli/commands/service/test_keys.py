"""`azaion keys`: made once, listed without their text, switched off and on, removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer

from azaion_cli.commands.service.keys import read_time
from azaion_cli.exit_codes import ExitCode
from deployments.access.keys_file import KeysFile
from tests.azaion_cli.conftest import Ran

Cli = Callable[..., Ran]
NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_printed_once_and_never_stored(azaion: Cli, file: Path) -> None:
    made = azaion("keys", "add", "lab", "--file", file)
    secret = made.out.strip()
    assert made.code == ExitCode.OK
    assert KeysFile(file).find(secret).name == "lab"
    assert secret not in file.read_text() + made.err
    listed = azaion("keys", "list", "--file", file, "--json")
    assert secret not in listed.out
    assert KeysFile(file).listed()[0].sha256 not in listed.out


def test_limits_are_those_given(azaion: Cli, file: Path) -> None:
    options = ["--rate", 2.5, "--burst", 20, "--daily", 1000, "--share", 0.25, "--expires", "30d", "--json"]
    made = azaion("keys", "add", "lab", "--file", file, *options).json
    key = KeysFile(file).find(made["key"])
    assert (key.rate, key.burst, key.daily, key.share) == (2.5, 20, 1000, 0.25)
    assert (key.expires - key.created).days == 30
    [listed] = azaion("keys", "list", "--file", file, "--json").json["keys"]
    assert (listed["rate"], listed["state"]) == (2.5, "enabled")
    assert azaion("keys", "list", "--file", file).out.splitlines()[1].split()[:2] == ["lab", "enabled"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b"], "name"),
        (["x" * 65], "name"),
        (["lab"], "already"),
        (["new", "--rate", "0"], "rate"),
        (["new", "--rate", "inf"], "rate"),
        (["new", "--daily", "0"], "daily"),
        (["new", "--share", "1.1"], "share"),
        (["new", "--burst", "5"], "--burst': it needs --rate"),
        (["new", "--expires", "soon"], "expected a date"),
        (["new", "--expires", "2020-01-01"], "expected a time in the future"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_by_name(
    azaion: Cli, file: Path, arguments: list[str], words: str
) -> None:
    azaion("keys", "add", "lab", "--file", file)
    before = file.read_bytes()
    ran = azaion("keys", "add", *arguments, "--file", file)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")
    assert words in ran.err
    assert file.read_bytes() == before


def test_keys_are_switched_off_and_on_and_removed(azaion: Cli, file: Path) -> None:
    for name in ("lab", "phone", "other"):
        azaion("keys", "add", name, "--file", file)
    assert azaion("keys", "disable", "lab", "phone", "--file", file).code == ExitCode.OK
    assert [key.enabled for key in KeysFile(file).listed()] == [False, False, True]
    azaion("keys", "enable", "phone", "--file", file)
    assert [key.enabled for key in KeysFile(file).listed()] == [False, True, True]
    assert azaion("keys", "remove", "lab", "--file", file, "--json").json["removed"] == ["lab"]
    assert [key.name for key in KeysFile(file).listed()] == ["phone", "other"]


@pytest.mark.parametrize("command", ["disable", "enable", "remove"])
def test_an_unknown_name_changes_nothing(azaion: Cli, file: Path, command: str) -> None:
    azaion("keys", "add", "lab", "--file", file)
    before = file.read_bytes()
    ran = azaion("keys", command, "lab", "nobody", "--file", file)
    assert ran.code == ExitCode.USAGE
    assert "'nobody'" in ran.err
    assert file.read_bytes() == before


def test_a_missing_or_broken_file_is_named(azaion: Cli, file: Path) -> None:
    assert str(file) in azaion("keys", "list", "--file", file).err
    file.write_text("{")
    for command in (["list"], ["add", "lab"], ["disable", "lab"]):
        ran = azaion("keys", *command, "--file", file)
        assert ran.code == ExitCode.ENVIRONMENT
        assert f"{file} is malformed" in ran.err
    below = file / "keys.json"
    assert azaion("keys", "add", "lab", "--file", below).code == ExitCode.ENVIRONMENT


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90m", "2026-11-28T13:30:00+00:00"),
        ("12h", "2026-11-29T00:00:00+00:00"),
        ("4w", "2026-12-26T12:00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T10:00:00Z", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31T10:00:00+02:00", "2027-01-31T08:00:00+00:00"),
    ],
)
def test_an_end_is_a_date_or_a_time_from_now(text: str, then: str) -> None:
    assert read_time(text, NOW).isoformat() == then


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "30y", "99999999999w", "²d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_time(text, NOW)
