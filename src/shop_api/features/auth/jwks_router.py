"""GET /.well-known/jwks.json."""

from fastapi import APIRouter, Response

from shop_api.features.auth.dependencies import SigningKeysDep
from shop_api.features.auth.jwks import PublicKeys
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute

router = APIRouter(tags=["Auth"], route_class=StrictRoute)


@router.get("/.well-known/jwks.json", responses=problems())
async def get_jwks(folder: SigningKeysDep, response: Response) -> PublicKeys:
    """The public keys that access tokens can be checked with (RFC 7517), also those that are about to sign."""
    keys = folder.keys() if folder else ()
    # A new key begins to sign only after that time: folder.ACTIVATION_DELAY.
    response.headers["Cache-Control"] = "public, max-age=300"
    return PublicKeys.model_validate(
        {"keys": [{"kid": key.kid, "alg": key.algorithm, "use": "sig", **key.public} for key in keys]}
    )
