"""Dependencies of the home page."""

from typing import Annotated

from fastapi import Depends, Request

from shop_api.features.home.service import OverviewService
from shop_api.settings import Settings


async def _overview(request: Request) -> OverviewService:
    overview: OverviewService = request.app.state.services.overview
    return overview


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.services.settings
    return settings


OverviewServiceDep = Annotated[OverviewService, Depends(_overview)]
SettingsDep = Annotated[Settings, Depends(_settings)]
