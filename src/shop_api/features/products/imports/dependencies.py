"""Dependencies of the imports router."""

from typing import Annotated

from fastapi import Depends, Request

from shop_api.features.products.imports.service import ImportService


async def _imports(request: Request) -> ImportService:
    imports: ImportService = request.app.state.services.imports
    return imports


ImportServiceDep = Annotated[ImportService, Depends(_imports)]
