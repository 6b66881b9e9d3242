"""Every console command of the README and of docs/ is one that exists, with arguments that it accepts."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import cli.main
from infra.reference import keys

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(?:sh|console|shell|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "pulumi": "needs Pulumi's engine, and a Google Cloud project for everything but config",
    "gcloud": "needs a Google Cloud project, or the address of a running local cloud",
    "$(pulumi": "needs a deployed stack",
    "export": "sets variables for the commands that follow it",
}
"""Programs whose commands no test runs, and why. Their keys and arguments are checked where that needs no account."""

MADE_EARLIER = ["report/evaluation.json"]
"""Files that a command must find, which an earlier one on the same page writes."""


@pytest.fixture(autouse=True)
def _working_directory(  # pyright: ignore[reportUnusedFunction]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in MADE_EARLIER:
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).write_text("{}")
    monkeypatch.chdir(tmp_path)


def commands(text: str) -> Iterator[str]:
    """The commands of all fenced blocks, continued lines joined and comments left out."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if (words := shlex.split(line, comments=True)) and not line.lstrip().startswith("#"):
                yield shlex.join(words) if "$(" not in line else line.split(" #")[0].strip()


def problem(command: str) -> str | None:
    """What is wrong with a command; None if nothing is."""
    if command.startswith("$(pulumi "):
        program, arguments = "$(pulumi", []
    else:
        program, *arguments = shlex.split(command)
    match program.removeprefix(".venv/bin/"):
        case "make":
            return problem_of_make(arguments)
        case "inspection":
            return problem_of_inspection(arguments)
        case "pytest" | "python" | "ruff" | "pre-commit":
            return problem_of_paths(arguments)
        case "pulumi" if arguments[:2] == ["config", "set"]:
            return problem_of_config(arguments[2:])
        case name if name in NOT_RUN:
            return None
        case _:
            return "neither checked here nor in the list of commands that are not run"


def problem_of_make(arguments: list[str]) -> str | None:
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else None


def problem_of_inspection(arguments: list[str]) -> str | None:
    command: Any = whole_command()
    name = "inspection"
    while hasattr(command, "commands"):
        if not arguments or arguments == ["--help"]:
            return None
        name, *arguments = arguments
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    if arguments == ["--help"]:
        return None
    try:
        command.make_context(name, arguments)
    except Exception as error:  # noqa: BLE001  # typer has its own copy of click, whose errors have no public name
        return f"{type(error).__name__}: {error}"
    return None


def whole_command() -> Any:  # noqa: ANN401  # a class of typer's own copy of click
    """The `inspection` command with all its parts, as its own main() puts it together."""
    if not cli.main.app.registered_groups:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["inspection", "--help"])
            with pytest.raises(SystemExit):
                cli.main.main()
    return typer.main.get_command(cli.main.app)


def problem_of_config(arguments: list[str]) -> str | None:
    options = {"--secret", "--path", "--stack", "STACK", "dev"}
    path = next(word for word in arguments if word not in options)
    known = {key for key, *_ in keys()}
    # An item of a list or an object that takes any label is no key of its own.
    whole = path.partition("[")[0]
    return None if whole in known or whole.removesuffix(".scratch") in known else f"there is no key {path!r}"


def problem_of_paths(arguments: list[str]) -> str | None:
    missing = [word for word in arguments if "/" in word and not (ROOT / word.partition("::")[0]).exists()]
    return f"there is no {', '.join(missing)}" if missing else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_exists_and_accepts_its_arguments(page: Path):
    wrong = {command: why for command in commands(page.read_text()) if (why := problem(command))}
    assert wrong == {}


def test_the_pages_have_commands_of_each_kind():
    programs = {
        command.split()[0].removeprefix(".venv/bin/") for page in PAGES for command in commands(page.read_text())
    }
    assert {"make", "inspection", "pulumi", "gcloud", "pytest"} <= programs


def test_no_program_stands_in_the_list_without_a_command():
    programs = {command.split()[0] for page in PAGES for command in commands(page.read_text())}
    assert NOT_RUN.keys() - programs == set()


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        "inspection no-such-command",
        ".venv/bin/inspection send --no-such-option part1.jpg",
        "inspection redrive --older-than many",
        "inspection model train",
        "pulumi config set treshold 0.8",
        ".venv/bin/pytest tests/no_such_folder",
        "curl https://example.com",
    ],
)
def test_a_wrong_command_is_noticed(command: str):
    assert problem(command)


def test_a_wrong_command_on_a_page_is_found():
    page = "text\n```sh\nmake demo   # a comment\ninspection send a.jpg \\\n  --no-such\n```\n"
    assert [bool(problem(command)) for command in commands(page)] == [False, True]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_to_a_file_leads_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


ROOM = re.compile(
    r"`((?:inspection|imaging|functions|webapp|infra|automl|local|console|cli|tests|proof|docs)/[\w./*-]*)`"
)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "decisions" not in page.parts], ids=lambda page: str(page.relative_to(ROOT))
)
def test_each_path_that_a_page_names_exists(page: Path):
    named = ROOM.findall(page.read_text())
    assert [path for path in named if not any(any(ROOT.glob(name)) for name in (path.rstrip("/"), f"{path}.py"))] == []


GITHUB = sorted([*(ROOT / ".github").rglob("*.y*ml"), ROOT / ".pre-commit-config.yaml"])


@pytest.mark.parametrize("file", GITHUB, ids=lambda file: str(file.relative_to(ROOT)))
def test_yaml_files_can_be_parsed_and_pin_their_actions(file: Path):
    content = yaml.safe_load(file.read_text())
    assert isinstance(content, dict)
    actions = re.findall(r"uses: *(\S+)", file.read_text())
    assert [action for action in actions if not re.search(r"@v\d", action)] == []


def test_the_workflow_runs_targets_that_exist():
    workflows = [yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "workflows").glob("*.yml")]
    runs = [
        step["run"] for flow in workflows for job in flow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    made = [line for run in runs for line in run.splitlines() if line.startswith("make ")]
    assert {"make check", "make test"} <= set(made)
    assert [line for line in made if problem(line)] == []


def test_the_index_lists_each_decision_once_and_in_order():
    folder = ROOT / "docs" / "decisions"
    files = sorted(file.name for file in folder.glob("0*.md"))
    numbers = [int(name[:4]) for name in files]
    assert numbers == sorted(set(numbers))
    assert re.findall(r"^\| \[\d+\]\((.*?)\)", (folder / "README.md").read_text(), re.MULTILINE) == files
    assert [name for name in files if not (folder / name).read_text().startswith(f"# {int(name[:4])}. ")] == []
