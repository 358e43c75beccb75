"""The home page, the error pages and Swagger UI."""

from shop_api.features.feature import Feature, Tag
from shop_api.features.home.router import router
from shop_api.features.home.swagger_ui import router as swagger_ui

feature = Feature(
    name="home",
    routers=(router, swagger_ui),
    tags=(Tag("Home", "Overview of the service, and explanations of its errors."),),
)
