"""The entry point of the `shop-api` command."""

import gc


def run() -> None:
    # Objects created by imports live on, so collecting garbage would only cost a fifth of the start-up time.
    gc.disable()
    from shop_api.cli.main import app

    gc.freeze()
    gc.enable()
    app()
