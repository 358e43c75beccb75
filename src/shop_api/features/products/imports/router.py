"""POST /products/import, /imports: imports of files as jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from shop_api.features.products.imports.dependencies import ImportServiceDep
from shop_api.features.products.imports.errors import ImportNotFound, ImportRunning
from shop_api.features.products.imports.models import ImportJob, ImportParameters
from shop_api.features.products.imports.service import ImportService, Upload
from shop_api.features.products.permissions import PRODUCTS_WRITE
from shop_api.features.products.transfer.rows import Format
from shop_api.http.bodies import streamed_body
from shop_api.http.dependencies import AuditContextDep, CallerLookupDep, Requires
from shop_api.http.idempotency.errors import KEYED
from shop_api.http.idempotency.route import PARAMETER, execute_once, idempotency_key
from shop_api.http.openapi import LOCATION
from shop_api.http.problems import BODY, SIGNED_IN, problems
from shop_api.http.request_state import request_state
from shop_api.http.routing import JSON, StrictRoute, media_type
from shop_api.kernel.errors import Forbidden, RequestTimeout, ShopError, Unauthenticated, UnsupportedMediaType
from shop_api.kernel.messages import allowed
from shop_api.kernel.permissions import Caller, CallerLookup
from shop_api.storage.mongo.attempts import OnlyAttempt

router = APIRouter(tags=["Imports"], route_class=StrictRoute)

MAX_FILE_BYTES = 100 * 1024 * 1024
_FORMATS: dict[str, Format] = {
    "text/csv": "csv",
    JSON: "json",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
}
_AS_ADMIN = (*SIGNED_IN, Forbidden)
_Editor = Annotated[Caller, Requires(PRODUCTS_WRITE)]
_ID = allowed("^[0-9a-f-]{36}$", "Give the id of an import as it was returned")
_ImportId = Annotated[str, Path(pattern=_ID, description="The import's id.")]
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_BODY = {"requestBody": {"required": True, "content": {kind: {"schema": _FILE} for kind in _FORMATS}}}


@router.post(
    "/products/import",
    status_code=202,
    response_model=ImportJob,
    responses=problems(*_AS_ADMIN, *BODY, *KEYED, ImportRunning) | {202: LOCATION},
    openapi_extra=PARAMETER | _BODY,
)
@streamed_body(MAX_FILE_BYTES)
async def import_products(
    request: Request,
    parameters: Annotated[ImportParameters, Query()],
    caller: _Editor,
    lookup_caller: CallerLookupDep,
    context: AuditContextDep,
    imports: ImportServiceDep,
) -> Response:
    """Import a file of products: a JSON array, JSON Lines or CSV of at most 100 MiB. Imports run in the background,
    one at a time. `GET /imports/{import_id}` shows the progress. To try it, choose a media type and a file."""
    form, key = _format(request), idempotency_key(request)
    imports.check(parameters, form)
    if key is None:  # with a key, the import that is running may be the one of an earlier attempt
        await imports.check_none_is_running()
    upload = await _uploaded(request, imports, lookup_caller)
    used = False

    async def create() -> Response:
        nonlocal used
        attempt = request_state(request.scope).attempt or OnlyAttempt()
        job = await imports.add(upload, form, parameters, attempt, context)
        used = job.file_id == upload.file_id
        content = ImportJob.model_validate(job.model_dump(include=set(ImportJob.model_fields))).model_dump(
            mode="json"
        )
        return JSONResponse(content, 202, {"Location": f"/imports/{job.import_id}", "Cache-Control": "no-store"})

    what = upload.digest + f"{form} {parameters.model_dump_json()}".encode()
    try:
        response = await (create() if key is None else execute_once(request, key, what, create))
    except ShopError:  # after any other error, the import may have been added; then the file is needed
        await imports.discard(upload)
        raise
    if not used:  # an earlier attempt has added the import
        await imports.discard(upload)
    return response


def _format(request: Request) -> Format:
    if form := _FORMATS.get(media_type(request)):
        return form
    raise UnsupportedMediaType(list(_FORMATS))


async def _uploaded(request: Request, imports: ImportService, lookup_caller: CallerLookup) -> Upload:
    """Store the body. Checks the caller again afterwards, since an upload can take long."""
    try:
        upload = await imports.upload(request.stream())
    except ClientDisconnect:  # nobody reads the answer
        raise RequestTimeout from None
    try:
        caller = await lookup_caller()
        if caller is None:
            raise Unauthenticated
        if not caller.may(PRODUCTS_WRITE):
            raise Forbidden("Only an admin is allowed to do this.")
    except Exception:
        await imports.discard(upload)
        raise
    return upload


@router.get("/imports/{import_id}", responses=problems(*_AS_ADMIN, ImportNotFound))
async def get_import(
    import_id: _ImportId, caller: _Editor, imports: ImportServiceDep, response: Response
) -> ImportJob:
    """Return an import with its state, progress, counts and rejected rows. To try it, start an import first."""
    response.headers["Cache-Control"] = "no-store"
    return await imports.get(import_id)


@router.delete("/imports/{import_id}", responses=problems(*_AS_ADMIN, ImportNotFound))
async def cancel_import(
    import_id: _ImportId, caller: _Editor, imports: ImportServiceDep, response: Response
) -> ImportJob:
    """Cancel an import, and return it. What it has stored stays. An import that is over does not change. To try it,
    start an import first."""
    response.headers["Cache-Control"] = "no-store"
    return await imports.cancel(import_id)
