"""The signing keys of a running service: polls the key folder and selects the active key."""

from datetime import datetime, timedelta
from pathlib import Path

import structlog

from shop_api.kernel.clock import Clock
from shop_api.security.signing_keys.files import BadKey, SigningKey, is_key_name, read
from shop_api.settings import PREFIX, SettingsError

log = structlog.get_logger()

ACTIVATION_DELAY = timedelta(minutes=10)
"""Delay between the appearance of a key and its first signature. By then every instance has the key, and every cached
copy of /.well-known/jwks.json (max-age five minutes) contains it."""
SETTLED = timedelta(hours=1)
"""Age at which a starting instance assumes that all other instances have a key."""
_EVERY = timedelta(seconds=2)
# Minimum interval for lookups caused by an unknown `kid`, since anyone can send any number of such tokens.
_AT_ONCE = timedelta(milliseconds=200)

# Changes with the content of a file.
_Stamp = tuple[int, int, int, int]


class SigningKeyStore:
    """The current keys in a folder. Raises SettingsError for an invalid key at start; a key that is invalid later is
    logged and ignored, or keeps its previous content."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamps: dict[str, _Stamp | None] = {}
        self._files: dict[str, SigningKey] = {}
        self._keys: tuple[SigningKey, ...]
        self._signs_from: dict[str, datetime] = {}
        self._unreadable = ""
        try:
            self._stamps = _stamps(path)
            self._files = {name: read(path / name) for name in self._stamps}
        except OSError as error:
            raise SettingsError(f"{PREFIX}JWT_KEYS_DIR: {path}: {error.strerror}") from None
        except BadKey as error:
            raise SettingsError(f"{PREFIX}JWT_KEYS_DIR: {error}") from None
        self._arrange()
        for key in self._keys:
            # Other instances may not have a key yet even if it was created a while ago.
            self._signs_from[key.kid] = min(self._signs_from[key.kid], key.made + SETTLED)
        if self._keys:  # the oldest key, which most instances have, signs at once
            self._signs_from[self._keys[0].kid] = min(self._looked, self._keys[0].made)
        else:
            log.warning("the folder of signing keys is empty: the secret signs", folder=str(path))

    def keys(self, *, at_once: bool = False) -> tuple[SigningKey, ...]:
        """Return all keys, oldest first; the same object while nothing has changed.

        Polls the folder every two seconds; with `at_once` up to five times a second.
        """
        now = self._clock()
        if abs(now - self._looked) >= (_AT_ONCE if at_once else _EVERY):  # abs: the clock may be set back
            self._looked = now
            self._look()
        return self._keys

    def signing(self) -> SigningKey | None:
        """Return the newest active key, or None."""
        now = self._clock()
        return next((key for key in reversed(self._keys) if self._signs_from[key.kid] <= now), None)

    def _look(self) -> None:
        try:
            stamps = _stamps(self._path)
        except OSError as error:  # keep the known keys
            if self._unreadable != str(error):
                log.error("the folder of signing keys cannot be read: its keys stay", error=str(error))
                self._unreadable = str(error)
            return
        self._unreadable = ""
        if stamps == self._stamps:
            return
        before, self._stamps = self._stamps, stamps
        files = {name: key for name, key in self._files.items() if name in stamps}
        for name in stamps:
            if stamps[name] != before.get(name):
                try:
                    files[name] = read(self._path / name)
                except BadKey as error:  # possibly still being written; the next poll reads it again
                    log.warning("not a signing key", error=str(error))
        if files != self._files:
            self._files = files
            self._arrange()
            log.info("the signing keys have changed", kids=[key.kid for key in self._keys])

    def _arrange(self) -> None:
        """Sort the keys and set when new ones become active: never before the time in their name."""
        keys = {key.kid: key for _, key in sorted(self._files.items())}  # deduplicates equal keys in two files
        begins = {kid: max(self._looked, key.made) + ACTIVATION_DELAY for kid, key in keys.items()}
        self._signs_from = {kid: self._signs_from.get(kid, begins[kid]) for kid in keys}
        self._keys = tuple(keys.values())


def _stamps(folder: Path) -> dict[str, _Stamp | None]:
    return {path.name: _stamp(path) for path in folder.iterdir() if is_key_name(path.name)}


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
