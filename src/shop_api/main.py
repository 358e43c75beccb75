"""`uvicorn shop_api.main:app`: the service on engines that run elsewhere, configured by the environment."""

from shop_api.app import create_app
from shop_api.observability.logging import configure_logging
from shop_api.settings import load

settings = load()
settings.required()  # refuse here, with a clear message, rather than at the first request
configure_logging(settings)
app = create_app(settings)
