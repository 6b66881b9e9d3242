"""The command outside a checkout, and in an environment that lacks its packages: one line says what to do."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Of the interpreter itself, and of nothing that is installed: an empty environment.
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'inspection'; from cli.start import main; main()"


def run_in_empty_environment(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", RUN, str(folder), "--help"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_wheel_says_that_the_command_needs_a_checkout(tmp_path: Path):
    built = subprocess.run(
        ["uv", "build", "--wheel", "--offline", "--out-dir", str(tmp_path), str(ROOT)],
        env={"PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")

    done = run_in_empty_environment(tmp_path / "installed")

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: inspection runs from a checkout of its repository")
    assert line.endswith("Clone the repository, run `make setup` there and use .venv/bin/inspection.")


def test_a_missing_package_is_named_with_what_to_do():
    done = run_in_empty_environment(ROOT)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: this environment lacks the Python package typer. Run `make setup` in {ROOT}.\n"


def test_the_package_is_kept_off_the_package_index():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "Private :: Do Not Upload" in project["classifiers"]
