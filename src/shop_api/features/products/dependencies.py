"""Dependencies of the products router."""

from typing import Annotated

from fastapi import Depends, Request

from shop_api.features.products.service import ProductService


async def _products(request: Request) -> ProductService:
    products: ProductService = request.app.state.services.products
    return products


ProductServiceDep = Annotated[ProductService, Depends(_products)]
