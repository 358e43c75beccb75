"""The Python client of shop_api."""

from shop_client import problems
from shop_client.errors import ShopError
from shop_client.generated.models import Money, ProductIn, ProductOut, Registration, Tokens, UserOut
from shop_client.shop import Shop

__all__ = ["Money", "ProductIn", "ProductOut", "Registration", "Shop", "ShopError", "Tokens", "UserOut", "problems"]
