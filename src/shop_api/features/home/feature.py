"""The home page, pages about errors, and Swagger UI."""

from shop_api.features.feature import Feature, Tag
from shop_api.features.home.router import router
from shop_api.features.home.swagger_ui import router as swagger_ui

feature = Feature(
    name="home",
    routers=(router, swagger_ui),
    tags=(Tag("Home", "What this is and how it is."),),
)
