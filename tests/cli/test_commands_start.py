"""The commands start wherever Python does."""

import subprocess
import sys

import pytest

WITHOUT_POSIX = """
import sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
sys.argv = ["inspection", *sys.argv[1:]]
from cli.main import main
main()
"""


@pytest.mark.parametrize("command", ["send", "redrive", "dataset", "model"])
def test_a_command_starts_where_the_modules_of_posix_are_missing(command: str):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: inspection" in done.stdout
