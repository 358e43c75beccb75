"""The list of all features, in the order of the OpenAPI document."""

from shop_api.features.auth.feature import feature as auth
from shop_api.features.feature import Feature
from shop_api.features.home.feature import feature as home
from shop_api.features.operations.feature import feature as operations
from shop_api.features.products.feature import feature as products
from shop_api.features.users.feature import feature as users

FEATURES: tuple[Feature, ...] = (home, auth, products, users, operations)
