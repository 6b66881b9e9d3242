"""Starts what was deployed as an archive: unpacked, with its own packages, its declared environment and nothing more."""

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.processes import CannotStartError, Guarded, free_port, wait_for_port


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
        self._home = home
        self._environments = environments
        self._surroundings = surroundings
        self._say = say
        self._install_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.running: dict[str, tuple[Guarded, int]] = {}

    def start_function(self, name: str, *, archive: bytes, entry_point: str, service: Mapping[str, Any]) -> str:
        """Start a gen 2 function as Google's buildpack does; returns its address."""
        folder = self._unpack(name, archive)
        environment = self._install(folder)
        command = [
            str(environment / "bin" / "functions-framework"),
            f"--target={entry_point}", "--source=main.py", "--host=127.0.0.1",
        ]  # fmt: skip
        return self._start(name, command, folder, service["serviceAccountEmail"], service["environmentVariables"])

    def wait(self) -> None:
        """Return when every program listens.

        Raises:
            CannotStartError: one of them ended or did not listen; the text has the end of its log.
        """
        for name, (process, port) in self.running.items():
            wait_for_port(port, process, name=name)

    def stop(self) -> None:
        """End every program."""
        for process, _ in self.running.values():
            process.stop()
        self.running.clear()

    def _start(self, name: str, command: list[str], folder: Path, identity: str, variables: Mapping[str, str]) -> str:
        port = free_port()
        env = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PORT": str(port),
            **self._surroundings(identity),
            **variables,
        }
        process = Guarded([*command, f"--port={port}"], log=self._home / f"{name}.log", env=env, cwd=folder)
        self.running[name] = (process, port)
        return f"http://127.0.0.1:{port}"

    def _unpack(self, name: str, archive: bytes) -> Path:
        folder = self._home / "deployed" / name
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
