"""Eve on the catalogue as it is stored, set up for speed where it can be: no count of all matches, no XML."""

import os

from eve import Eve

SETTINGS = {
    "MONGO_URI": os.environ["BENCH_MONGO_URL"],
    "MONGO_DBNAME": os.environ["BENCH_MONGO_DB"],
    "RENDERERS": ["eve.render.JSONRenderer"],
    "OPTIMIZE_PAGINATION_FOR_SPEED": True,
    "LAST_UPDATED": "updated_at",
    "DATE_CREATED": "created_at",
    "DOMAIN": {
        "products": {
            "allow_unknown": True,
            "item_url": 'regex("[A-Za-z0-9._-]+")',
            "schema": {
                "_id": {"type": "string"},
                "name": {"type": "string"},
                "description": {"type": "string"},
                "price": {"type": "dict", "schema": {"amount": {"type": "integer"}, "currency": {"type": "string"}}},
                "stock": {"type": "integer"},
                "category": {"type": "string"},
                "brand": {"type": "string"},
                "tags": {"type": "list"},
                "images": {"type": "list"},
                "attributes": {"type": "dict"},
                "status": {"type": "string"},
                "version": {"type": "integer"},
            },
        }
    },
}

app = Eve(settings=SETTINGS)
