"""A terminal into which everything is typed that a page tells its reader to type."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from support.patience import PATIENCE

_DONE = "done-with-this-block"

_SERVE = re.compile(r"^(make run|\S*shop-api serve)\b.*?(?=\s+#|$)", re.MULTILINE)
# The one runs this; what the others make and install is there already, and in use.
_NOT_RUN = re.compile(r"^(make test|make sdk|\.venv/bin/pip install)\b.*$", re.MULTILINE)
# What a page shows, but nobody types.
_SHOWN = {"json", "text", "http"}


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


class Walkthrough:
    """A checkout in a temporary folder, with everything installed already, and a reader in front of it."""

    def __init__(self, folder: Path, stack: ExitStack, env: dict[str, str]) -> None:
        self._folder = folder
        self._stack = stack
        self._env = env
        self._filled_in: dict[str, str] = {}
        self._shell = stack.enter_context(
            subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-euo", "pipefail"],
                cwd=folder,
                env=env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        assert self._shell.stdin is not None
        stack.callback(self._shell.stdin.close)

    def follow(self, block: Block) -> str:
        """Does what the block says, and returns what came of it; fails where that fails."""
        if block.language in _SHOWN:
            return ""
        text = _NOT_RUN.sub("", block.text)
        if block.language == "sh" and (command := _SERVE.search(text)):
            self._serve(command[0])
            text = _SERVE.sub("", text)
        for placeholder, value in self._filled_in.items():
            text = text.replace(placeholder, value)
        match block.language:
            case "sh":
                return self._type(text)
            case "python":
                return self._type(f".venv/bin/python - <<'END-OF-PYTHON'\n{text}\nEND-OF-PYTHON")
            case language:
                raise AssertionError(
                    f"line {block.line}: nothing here can run {language or 'a block of no language'}"
                )

    def _type(self, text: str) -> str:
        watchdog = threading.Timer(PATIENCE, self._shell.kill)
        watchdog.start()
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{text}\necho; echo {_DONE}\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line == f"{_DONE}\n":
                watchdog.cancel()
                return "".join(lines)
            lines.append(line)
        watchdog.cancel()
        raise AssertionError(f"failed:\n{text}\nwith:\n{''.join(lines)}")

    def _serve(self, command: str) -> None:
        """In another terminal, on any free port; what it says is filled in for what the page says instead."""
        log = self._folder / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command.split(), cwd=self._folder, env=self._env, stdout=output, stderr=output)
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.terminate)
        deadline = time.monotonic() + PATIENCE
        while not (ready := re.search(r"ready on http://(\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        self._filled_in["localhost:4000"] = ready[1]
        if password := re.search(r"username admin, password (\S+)", log.read_text()):
            self._filled_in["THE_PASSWORD"] = password[1]


@contextmanager
def walkthrough(root: Path, folder: Path) -> Iterator[Walkthrough]:
    """A reader in a checkout of `root`, in the empty `folder`."""
    home, checkout = folder / "home", folder / "checkout"
    home.mkdir()
    checkout.mkdir()
    for path in root.iterdir():
        if not path.name.startswith(".") or path.name == ".ci":
            (checkout / path.name).symlink_to(path)
    # Installed, as `make` sees it.
    (checkout / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (checkout / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    for stamp in ("run.stamp", "dev.stamp"):
        (checkout / ".venv" / stamp).touch()
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")  # an answer that is an error fails a block
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SHOP_", "MAKE", "MFLAGS"))}
    env |= {"HOME": str(home), "CURL_HOME": str(home), "SHOP_PORT": "0", "SHOP_LOG_LEVEL": "warning"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"  # node, where there is no other
    env |= {"npm_config_cache": str(Path.home() / ".npm"), "npm_config_prefer_offline": "true"}
    with ExitStack() as stack:
        yield Walkthrough(checkout, stack, env)
