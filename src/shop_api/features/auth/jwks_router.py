"""GET /.well-known/jwks.json."""

from fastapi import APIRouter, Response

from shop_api.features.auth.dependencies import SigningKeysDep
from shop_api.features.auth.jwks import PublicKeys
from shop_api.http.problems import problems
from shop_api.http.routing import StrictRoute

router = APIRouter(tags=["Auth"], route_class=StrictRoute)


@router.get("/.well-known/jwks.json", responses=problems())
async def get_jwks(folder: SigningKeysDep, response: Response) -> PublicKeys:
    """Return the public keys that verify access tokens (RFC 7517), including keys that will start to sign soon."""
    keys = folder.keys() if folder else ()
    # max-age must stay below ACTIVATION_DELAY, after which a new key starts to sign.
    response.headers["Cache-Control"] = "public, max-age=300"
    return PublicKeys.model_validate(
        {"keys": [{"kid": key.kid, "alg": key.algorithm, "use": "sig", **key.public} for key in keys]}
    )
