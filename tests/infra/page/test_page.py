"""The review page's bundle is built when its sources were never built before, and only then."""

import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.page import PageError, built_page
from local.deploy.program import ROOT
from tests.infra.google_stand_in import copy_checkout

FRONTEND = Path("webapp/frontend")

# Takes npm's place where what npm does is not the point: the page is the newest of its sources.
QUICK_NPM = """#!/bin/sh
echo "npm $*" >> "$CALLS"
if [ "$1" = run ]; then mkdir dist && cat index.html src/*.ts > dist/index.html; fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy in which no page was ever built."""
    root = copy_checkout(tmp_path / "checkout")
    shutil.rmtree(root / "build")
    return root


Tools = Callable[..., Path]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Makes scripts the only Node of this machine; returns the file in which the calls of npm are noted."""

    def make(*, node: str | None = "echo v22.1.0", npm: str | None = QUICK_NPM) -> Path:
        folder = tmp_path / "tools"
        folder.mkdir(exist_ok=True)
        for name, script in {"node": node, "npm": npm}.items():
            if script is not None:
                path = folder / name
                path.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
                path.chmod(path.stat().st_mode | stat.S_IXUSR)
        # Behind it what the scripts themselves need, without a Node that may be installed there.
        for command in ("cat", "mkdir", "sh"):
            if not (folder / command).exists():
                (folder / command).symlink_to(str(shutil.which(command)))
        calls = tmp_path / "calls"
        calls.touch()
        monkeypatch.setenv("CALLS", str(calls))
        monkeypatch.setenv("PATH", str(folder))
        return calls

    return make


def append(path: Path, text: str = "\n") -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on PATH: the page cannot be built here")
def test_the_same_sources_elsewhere_make_the_same_bytes(checkout: Path):
    for number, path in enumerate(sorted((checkout / FRONTEND).rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    here, there = built_page(ROOT), built_page(checkout)
    assert here.name == there.name
    contents = [
        {path.relative_to(page).as_posix(): path.read_bytes() for path in page.rglob("*") if path.is_file()}
        for page in (here, there)
    ]
    assert contents[0] == contents[1]
    assert any(name.endswith(".js") for name in contents[0])
    assert b"/assets/" in contents[0]["index.html"]
    assert [path.name for path in (checkout / "build").iterdir()] == [there.name], "nothing else is left"


def test_a_page_is_built_once_and_not_again_for_new_times_tests_or_packages(checkout: Path, tools: Tools):
    calls = tools()
    page = built_page(checkout)
    assert calls.read_text().splitlines() == ["npm ci --ignore-scripts --no-audit --no-fund", "npm run build"]

    sources = checkout / FRONTEND
    os.utime(sources / "package.json", (1, 1))
    append(sources / "src" / "review.test.ts")
    for left in ("node_modules/react/index.js", "dist/index.html"):
        (sources / left).parent.mkdir(parents=True)
        (sources / left).write_text("left by somebody's own build")
    assert built_page(checkout) == page
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["src/work.ts", "index.html", "package-lock.json", "public/icon.svg"])
def test_one_changed_byte_builds_a_new_page_beside_the_old_one(checkout: Path, tools: Tools, name: str):
    calls = tools()
    before = built_page(checkout)
    append(checkout / FRONTEND / name)
    after = built_page(checkout)
    assert after != before
    assert before.is_dir()
    assert len(calls.read_text().splitlines()) == 4


def test_a_removed_file_and_a_renamed_one_build_a_new_page(checkout: Path, tools: Tools):
    tools()
    icon = checkout / FRONTEND / "public" / "icon.svg"
    pages = {built_page(checkout)}
    icon.rename(icon.with_name("other.svg"))
    pages.add(built_page(checkout))
    icon.with_name("other.svg").unlink()
    pages.add(built_page(checkout))
    assert len(pages) == 3


def test_a_page_that_is_there_needs_no_node(checkout: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch):
    tools()
    page = built_page(checkout)
    monkeypatch.setenv("PATH", "")
    assert built_page(checkout) == page


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"node": None, "npm": None}, ["Node (node) is not on PATH"]),
        ({"npm": None}, ["npm is not on PATH"]),
        ({"node": "echo v18.20.1"}, ["is version v18.20.1"]),
        ({"node": "exit 1"}, ["is version unknown"]),
    ],
)
def test_where_node_is_missing_or_old_the_user_is_told_what_to_install(
    checkout: Path, tools: Tools, given: dict[str, str | None], expected: list[str]
):
    calls = tools(**given)
    with pytest.raises(PageError) as refused:
        built_page(checkout)
    for part in (*expected, "install Node 20.19 or later", "https://nodejs.org/en/download"):
        assert part in str(refused.value)
    assert calls.read_text() == ""


def test_a_failed_build_says_what_npm_said_and_leaves_nothing(checkout: Path, tools: Tools):
    tools(npm="echo 'npm error 404 no such package'; exit 1")
    with pytest.raises(PageError, match=r"`npm ci .*failed(.|\n)*npm error 404 no such package"):
        built_page(checkout)
    assert list((checkout / "build").iterdir()) == []


def test_a_build_that_makes_no_page_is_refused_and_leaves_nothing(checkout: Path, tools: Tools):
    tools(npm="exit 0")
    with pytest.raises(PageError, match=r"no dist/index\.html"):
        built_page(checkout)
    assert list((checkout / "build").iterdir()) == []


def test_two_runs_at_once_end_with_one_whole_page(checkout: Path, tools: Tools):
    tools()
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(built_page, [checkout] * 4))
    assert len(set(pages)) == 1
    assert [path.name for path in (checkout / "build").iterdir()] == [pages[0].name]
    assert (pages[0] / "index.html").is_file()


def test_a_checkout_without_the_page_is_named(checkout: Path):
    (checkout / FRONTEND / "package.json").unlink()
    with pytest.raises(PageError, match=r"webapp/frontend has no package\.json"):
        built_page(checkout)
