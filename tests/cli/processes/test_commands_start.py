"""The commands start wherever Python does; the local cloud names the systems that it runs on."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local.commands import local_app

WITHOUT_POSIX = """
import os, signal, sys

# Of what Python's documentation marks "Availability: Unix".
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("chown", "fork", "geteuid", "getuid", "killpg", "mkfifo", "setsid"):
    delattr(os, name)
for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "pthread_sigmask"):
    delattr(signal, name)
sys.argv = ["inspection", *sys.argv[1:]]
from cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["send", "--help"], 0, "Usage: inspection"),
        (["redrive", "--help"], 0, "Usage: inspection"),
        (["dataset", "--help"], 0, "Usage: inspection"),
        (["model", "--help"], 0, "Usage: inspection"),
        # Beyond the help, with all that they import.
        (["send", "part1.jpg"], 1, "No local cloud is running here"),
        (["redrive"], 1, "No local cloud is running here"),
    ],
)
def test_a_command_starts_where_the_modules_of_posix_are_missing(
    tmp_path: Path, words: list[str], code: int, text: str
):
    (tmp_path / "part1.jpg").write_bytes(b"part 1")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert text in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["up", "demo"])
def test_the_local_cloud_refuses_windows_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    result = CliRunner().invoke(local_app, [command])
    assert result.exit_code == 1
    assert "the local cloud runs on Linux and macOS, not on Windows" in result.output
