"""Images that a camera uploads all through a first `up` with a slow build, a failing one or late grants: none is lost.

python -m proof.first_up
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.api_core.exceptions import NotFound
from rich.console import Console
from rich.table import Table

from local.cloud import LocalCloud
from local.demo.run import SECONDS_WITHOUT_A_LANDING, landed_pictures, wait_for_landing
from local.demo.samples import samples
from local.deploy.processes import CannotStartError
from local.deploy.program import ROOT
from local.google.gate import ApiError, Call, RequestLog
from proof.report import finish, report_console

BUCKET: Final = "first-up-inbound"
HELD = 5
"""Images that lie in the inbound bucket before its notification exists."""
TRIES = 25
"""Uploads that the camera tries during a slow build, and between two `up`s."""
SECONDS_BETWEEN_UPLOADS = 0.1
SECONDS_TO_WAIT = 120


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What goes wrong with a first `up`."""

    name: str
    slow: Collection[str] = ()
    """The parts whose builds last until the camera has tried :data:`TRIES` uploads."""
    failing: Collection[str] = ()
    """The parts whose first build fails. A second `up` follows."""
    grants_take_seconds: int = 0
    """After which a new grant takes effect. The program waits for a second longer."""

    @property
    def config(self) -> Mapping[str, object]:
        """The keys of the stack that differ from its file."""
        # The local stack delivers five times, about once a second. Google's pauses grow.
        late = {"grantWaitSeconds": self.grants_take_seconds + 1, "deliveryAttempts": 40}
        return {"inboundBucket": BUCKET, **(late if self.grants_take_seconds else {})}


SCENARIOS: Final = (
    Scenario(name="predict's build is slow", slow=["predict"]),
    Scenario(name="move's build fails", slow=["move"], failing=["move"]),
    Scenario(name="grants take effect late", grants_take_seconds=3),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the images."""

    scenario: str
    refused: int
    """Uploads that Cloud Storage refused, as there was no bucket yet; the camera keeps such an image and tries again."""
    accepted: int
    unannounced: int
    """Accepted before the notification existed."""
    at_once: int
    by_redrive: int
    problems: list[str]
    """Empty if no image is lost."""


class Camera:
    """Uploads one image after the other, each until it is accepted."""

    def __init__(self, cloud: LocalCloud) -> None:
        """It starts with :meth:`run`."""
        self._cloud = cloud
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self.announcing = threading.Event()
        """Set as soon as the notification exists."""
        self.refused = 0
        self.unannounced: list[str] = []
        """Accepted before the notification existed."""
        self.announced: list[str] = []
        """Sent when the notification existed."""
        self.between: list[str] = []
        """Sent before, and accepted after."""

    @property
    def accepted(self) -> list[str]:
        """All of them."""
        return [*self.unannounced, *self.between, *self.announced]

    def run(self) -> None:
        """Upload until :meth:`stop`, from when Cloud Storage answers."""
        jpeg = next(iter(samples(1, seed=5))).jpeg
        while not self._cloud.storage_url and not self._stopped.wait(SECONDS_BETWEEN_UPLOADS):
            pass
        bucket = self._cloud.storage_client().bucket(BUCKET)
        while not self._stopped.wait(SECONDS_BETWEEN_UPLOADS):
            name, announced_before = f"image-{len(self.accepted):04}.jpeg", self.announcing.is_set()
            try:
                bucket.blob(name).upload_from_string(jpeg, content_type="image/jpeg", if_generation_match=0)
            except NotFound:
                with self._changed:
                    self.refused += 1
                    self._changed.notify_all()
                continue
            announced = self.announcing.is_set()
            with self._changed:
                (self.announced if announced_before else self.between if announced else self.unannounced).append(name)
                self._changed.notify_all()

    def stop(self) -> None:
        """No more."""
        self._stopped.set()

    def wait_for_tries(self, more: int) -> None:
        """Return when it has tried so many more uploads, accepted or not."""
        with self._changed:
            self._wait(lambda tries=self._tries: self._tries >= tries + more, f"{more} more uploads")

    def wait_for_accepted(self, count: int) -> None:
        """Return when so many images lie in the bucket, or have lain there."""
        with self._changed:
            self._wait(lambda: len(self.accepted) >= count, f"{count} images")

    @property
    def _tries(self) -> int:
        return self.refused + len(self.accepted)

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        if not self._changed.wait_for(reached, SECONDS_TO_WAIT):
            raise TimeoutError(f"the camera did not come to {what} within {SECONDS_TO_WAIT} s")


class Door(RequestLog):
    """Holds the notification until some images lie in the bucket, as if Google took its time."""

    camera: Camera

    def enter(self, call: Call) -> None:
        """Wait, if this call creates the notification."""
        super().enter(call)
        if _announces(call):
            self.camera.wait_for_accepted(HELD)

    def leave(self, call: Call) -> None:
        """From now on every image is announced."""
        if _announces(call):
            self.camera.announcing.set()


def _announces(call: Call) -> bool:
    return call.method == "storage.buckets.update" and call.bucket == BUCKET


def run(
    scenario: Scenario,
    *,
    root: Path = ROOT,
    seconds_without_a_landing: float = SECONDS_WITHOUT_A_LANDING,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run the program of `root` for the first time while a camera uploads, and look where each image is afterwards."""
    to_fail = set(scenario.failing)

    def build(name: str) -> None:
        part = name.rpartition("-")[2]
        if part in scenario.slow:
            camera.wait_for_tries(TRIES)
        if part in to_fail:
            to_fail.remove(part)
            raise ApiError(400, "failedPrecondition", f"Build failed with status: FAILURE. {part} could not be built.")

    door = Door()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCloud(
            Path(folder) / ".local" / "cloud",
            gate=door,
            config=scenario.config,
            grants_take_seconds=scenario.grants_take_seconds,
            root=root,
            before_build=build,
        ) as cloud,
        ThreadPoolExecutor(1) as pool,
    ):
        camera = door.camera = Camera(cloud)
        uploading = pool.submit(camera.run)
        try:
            _up(cloud, camera, fails=bool(to_fail), say=say)
            camera.wait_for_tries(TRIES)
        finally:
            camera.stop()
        uploading.result()
        return _look(scenario, cloud, camera, Path(folder), seconds_without_a_landing)


def _up(cloud: LocalCloud, camera: Camera, *, fails: bool, say: Callable[[str], None]) -> None:
    try:
        cloud.start(say)
    except CannotStartError as error:
        if not fails or "could not be built" not in str(error):
            raise
        camera.wait_for_tries(TRIES)
        cloud.up(say)
    else:
        if fails:
            raise AssertionError("the build failed, and `up` did not")


def _look(scenario: Scenario, cloud: LocalCloud, camera: Camera, folder: Path, seconds: float) -> Outcome:
    problems: list[str] = []

    def wait_for(names: Collection[str]) -> Collection[str]:
        return wait_for_landing(cloud, set(names), Console(quiet=True), seconds_without_a_landing=seconds).keys()

    at_once = wait_for(camera.announced)
    lost = sorted(set(camera.announced) - set(at_once))
    problems += [f"{name} was uploaded to a line that announced it, and did not land" for name in lost]
    shown = _redrive(folder)
    if unnamed := sorted(set(camera.unannounced) - set(re.findall(r"image-\d+\.jpeg", shown))):
        problems.append(f"`inspection redrive` does not name {', '.join(unnamed)}:\n{shown}")
    before = landed_pictures(cloud).keys() & set(camera.accepted)
    _redrive(folder, "--yes")
    landed = set(wait_for(camera.accepted))
    problems += [f"{name} is LOST" for name in sorted(set(camera.accepted) - landed)]
    return Outcome(
        scenario=scenario.name,
        refused=camera.refused,
        accepted=len(camera.accepted),
        unannounced=len(camera.unannounced),
        at_once=len(before),
        by_redrive=len(landed - before),
        problems=problems,
    )


def _redrive(folder: Path, *arguments: str) -> str:
    """What the command prints, run in the folder of the local cloud; nothing that lies there is too young for it."""
    command = [str(Path(sys.executable).with_name("inspection")), "redrive", "--older-than", "0", "--show", "1000"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "300"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def table(outcomes: Collection[Outcome]) -> Table:
    """A row for each scenario."""
    columns = ("refused, kept by the camera", "accepted", "before the notification", "landed at once", "by redrive")
    table = Table("first `up`", *columns, "problems", title="Images uploaded all through a first `up`")
    for outcome in outcomes:
        figures = (outcome.refused, outcome.accepted, outcome.unannounced, outcome.at_once, outcome.by_redrive)
        table.add_row(
            outcome.scenario, *map(str, figures), f"{'[red]' if outcome.problems else ''}{len(outcome.problems)}"
        )
    return table


def main() -> None:
    """Print the figures; exit code 1 if an image is lost."""
    console = report_console()
    with console.status("A first `up`") as status:
        outcomes = [run(scenario, say=status.update) for scenario in SCENARIOS]
    console.print(table(outcomes))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    for problem in problems:
        console.print(problem, style="red", markup=False)
    finish(
        console,
        f"{sum(outcome.accepted for outcome in outcomes)} images uploaded all through {len(outcomes)} first `up`s, one with a "
        f"slow build, one with a build that fails, one with late grants: {len(problems)} lost, "
        f"{sum(outcome.at_once for outcome in outcomes)} landed at once, "
        f"{sum(outcome.by_redrive for outcome in outcomes)} by `inspection redrive`",
        holds=not problems,
    )


if __name__ == "__main__":
    main()
