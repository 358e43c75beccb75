"""The folder of signing keys while the service is running: which keys there are at a moment, and which one signs."""

from datetime import datetime, timedelta
from pathlib import Path

import structlog

from shop_api.kernel.clock import Clock
from shop_api.security.signing_keys.files import BadKey, SigningKey, is_key_name, read
from shop_api.settings import PREFIX, SettingsError

log = structlog.get_logger()

ACTIVATION_DELAY = timedelta(minutes=10)
"""How long after it appeared a key begins to sign: by then every instance has it, and so has whoever keeps a copy of
/.well-known/jwks.json for the five minutes that it may be kept."""
SETTLED = timedelta(hours=1)
"""How long after it was made an instance that starts takes a key as known to all others."""
_EVERY = timedelta(seconds=2)
# When a token asks for a key that is not known: anyone can send such tokens, as many as they like.
_AT_ONCE = timedelta(milliseconds=200)

# What changes about a file whenever its content does.
_Stamp = tuple[int, int, int, int]


class SigningKeyStore:
    """The keys in a folder, as they are at any moment. SettingsError if one of them is bad at the start; later it is
    logged and left out, or stays what it was."""

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
            # Other instances may not have it yet, even if it was made a while ago.
            self._signs_from[key.kid] = min(self._signs_from[key.kid], key.made + SETTLED)
        if self._keys:  # something has to sign, and the oldest is what most others have
            self._signs_from[self._keys[0].kid] = min(self._looked, self._keys[0].made)
        else:
            log.warning("the folder of signing keys is empty: the secret signs", folder=str(path))

    def keys(self, *, at_once: bool = False) -> tuple[SigningKey, ...]:
        """All keys, oldest first: the same object as long as nothing has changed.

        The folder is looked at every two seconds, or `at_once`, but not more than five times a second.
        """
        now = self._clock()
        if abs(now - self._looked) >= (_AT_ONCE if at_once else _EVERY):  # clocks are set back, too
            self._looked = now
            self._look()
        return self._keys

    def signing(self) -> SigningKey | None:
        """The newest of those keys that may sign by now, None if there is none."""
        now = self._clock()
        return next((key for key in reversed(self._keys) if self._signs_from[key.kid] <= now), None)

    def _look(self) -> None:
        try:
            stamps = _stamps(self._path)
        except OSError as error:  # says nothing about the keys
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
                except BadKey as error:  # is being written, perhaps: then the next look finds it changed
                    log.warning("not a signing key", error=str(error))
        if files != self._files:
            self._files = files
            self._arrange()
            log.info("the signing keys have changed", kids=[key.kid for key in self._keys])

    def _arrange(self) -> None:
        """Puts the keys in order. One that is new signs later, and none before the moment in its name."""
        keys = {key.kid: key for _, key in sorted(self._files.items())}  # once, if two files have the same
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
