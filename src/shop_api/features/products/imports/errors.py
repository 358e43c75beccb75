"""The client-visible errors of imports over HTTP."""

from shop_api.kernel.errors import Conflict, NotFound


class ImportNotFound(NotFound):
    """There is no import with this id. Imports are forgotten 30 days after they end."""

    code, title = "import_not_found", "There is no such import"


class ImportRunning(Conflict):
    """Another import is queued or running, and a shop runs one at a time. `import_id` names it: wait until it has
    ended, or cancel it with `DELETE /imports/{import_id}`."""

    code, title = "import_running", "Another import is running"

    def __init__(self, import_id: str | None = None) -> None:
        super().__init__()
        self._import_id = import_id

    @property
    def members(self) -> dict[str, object]:
        return {"import_id": self._import_id} if self._import_id else {}
