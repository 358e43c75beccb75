"""Notices that an embedded engine has stopped working while `shop-api serve` runs on it."""

import shutil
from pathlib import Path

from shop_api.cli.terminal import say
from shop_api.embedded.processes import MONGODB, REDIS, REDIS_GUARDS, EngineProcesses

# The engines without which the service goes on, and their logs.
_EXPENDABLE = {REDIS: "redis", REDIS_GUARDS: "redis-guards"}


class EngineWatch:
    """Watches the embedded engines of one data folder."""

    def __init__(self, folder: Path, processes: EngineProcesses) -> None:
        self._folder = folder
        self._processes = processes
        self._seen: set[str] = set()

    def problem(self, storage_failure: str | None) -> str | None:
        """Return why the service cannot go on, and what to do; None while it can. To be called again and again.

        `storage_failure` is why MongoDB could not store the last heartbeat, if its storage engine has failed: then it
        refuses every write until it starts again, and it does not end by itself.
        """
        # A signal to all processes, such as that of systemd, may end the engines first. The service has noticed it
        # by the next call.
        seen, self._seen = self._seen, self._processes.ended()
        for engine, log in _EXPENDABLE.items():
            if engine in self._seen - seen:
                say(f"the embedded {engine} has ended: serving goes on without it; {self._log(log)}")
        if MONGODB in seen:
            return self._explained("has ended")
        if storage_failure and MONGODB in self._processes:
            return self._explained(f"stores nothing any more: {storage_failure}")
        return None

    def _explained(self, what: str) -> str:
        return (
            f"the embedded MongoDB on {self._folder / 'mongo'} {what}\n"
            f"its disk may be full ({_free(self._folder)}): make room, or set SHOP_DATA_DIR to a folder on another"
            f" disk, and start again; {self._log('mongo')}"
        )

    def _log(self, engine: str) -> str:
        return f"{self._folder / engine}.log says more"


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / (1 << 30):,.1f} GiB free"
    except OSError as error:
        return f"{folder}: {error.strerror}"
