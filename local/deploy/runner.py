"""Starts what was deployed as an archive: unpacked, with its own packages, its declared environment and nothing more."""

import hashlib
import io
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local.deploy.processes import CannotStartError, Guarded, free_port, wait_for_port
from local.google import hosts


@dataclass(frozen=True, kw_only=True)
class Program:
    """A started program: where it was unpacked, and what it runs with."""

    name: str
    command: list[str]
    folder: Path
    python: str
    env: Mapping[str, str]
    port: int
    process: Guarded


class ArchiveRunner:
    """The programs that run, each from an archive of its own.

    Packages are installed once for each distinct `requirements.txt`, so that one that a program forgot to require is
    missing here as it would be in the cloud.
    """

    def __init__(
        self,
        *,
        home: Path,
        environments: Path,
        surroundings: Callable[[str], Mapping[str, str]],
        say: Callable[[str], None],
    ) -> None:
        """Unpack below `home`; keep installed packages in `environments` from one start to the next.

        `surroundings` gives the variables that the cloud's surroundings provide to an identity (an account's e-mail).
        """
        self._home = home.resolve()
        self._environments = environments.resolve()
        self._surroundings = surroundings
        self._say = say
        self._install_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.programs: dict[str, Program] = {}

    def start_function(self, name: str, *, archive: bytes, entry_point: str, service: Mapping[str, Any]) -> int:
        """Start a gen 2 function as Google's buildpack does; returns the port that it listens on.

        Raises:
            CannotStartError: it does not; as in Cloud Run, there is no function then.
        """
        folder = self._unpack(name, archive)
        environment = self._install(folder)
        # The port is read from PORT, as in the cloud. What is in front of it is ours; -P keeps this package off its path.
        framework = [str(environment / "bin" / "python"), "-P", hosts.__file__]
        command = [*framework, f"--target={entry_point}", "--source=main.py", "--host=127.0.0.1"]
        identity, variables = service["serviceAccountEmail"], service["environmentVariables"]
        return self._start(name, command, folder, environment, identity, variables)

    def start_service(
        self, name: str, *, archive: bytes, shell: str, identity: str, variables: Mapping[str, str]
    ) -> int:
        """Start a service as App Engine's standard environment does; returns the port that it listens on.

        Deliberately absent: the variables `GAE_...`, by which a program knows that Google signs its users in.
        """
        folder = self._unpack(name, archive)
        environment = self._install(folder)
        return self._start(name, ["/bin/sh", "-c", f"exec {shell}"], folder, environment, identity, variables)

    def check(self) -> None:
        """Raise if a program has ended by itself.

        Raises:
            CannotStartError: the text has the end of its log.
        """
        for program in self.programs.values():
            if not program.process.running:
                message = f"{program.name} ended. The end of {program.process.log}:\n{program.process.log_tail()}"
                raise CannotStartError(message)

    def restart(self, name: str) -> None:
        """Start a program that has ended once more, on its port; returns when it listens.

        Raises:
            CannotStartError: it ended again or did not listen; the text has the end of its log.
        """
        program = self.programs[name]
        process = Guarded(program.command, log=program.process.log, env=program.env, cwd=program.folder)
        self.programs[name] = replace(program, process=process)
        wait_for_port(program.port, process, name=name)

    def log_tails(self) -> str:
        """The end of each program's log."""
        return "\n".join(f"{name}:\n{program.process.log_tail()}" for name, program in self.programs.items())

    def stop(self) -> None:
        """End every program."""
        for program in list(self.programs.values()):
            program.process.stop()
        self.programs.clear()

    def _start(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: Path,
        identity: str,
        variables: Mapping[str, str],
    ) -> int:
        port = free_port()
        env = {
            "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PORT": str(port),
            **self._surroundings(identity),
            **variables,
        }
        process = Guarded(command, log=self._home / f"{name}.log", env=env, cwd=folder)
        self.programs[name] = Program(
            name=name,
            command=command,
            folder=folder,
            python=str(environment / "bin" / "python"),
            env=env,
            port=port,
            process=process,
        )
        try:
            wait_for_port(port, process, name=name)
        except BaseException:
            process.stop()
            self.programs.pop(name, None)
            raise
        return port

    def _unpack(self, name: str, archive: bytes) -> Path:
        folder = self._home / "deployed" / name
        shutil.rmtree(folder, ignore_errors=True)  # of a start that failed
        folder.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(folder)
        return folder

    def _install(self, folder: Path) -> Path:
        requirements = folder / "requirements.txt"
        if not requirements.exists():
            message = f"{folder.name}: its archive has no requirements.txt"
            raise CannotStartError(message)
        digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
        environment = self._environments / digest
        complete = environment / "complete"
        with self._install_locks[digest]:
            if not complete.exists():
                self._say(f"installing the packages of {folder.name} (once)")
                self._uv("venv", "--clear", "--python", sys.executable, str(environment))
                self._uv("pip", "sync", "--python", str(environment), str(requirements))
                complete.touch()
        return environment

    def _uv(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "uv", "--quiet", "--no-config", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            message = f"uv {' '.join(arguments)} failed:\n{done.stderr}"
            raise CannotStartError(message)
