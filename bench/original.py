"""The design that this service replaces, written afresh: Flask, PyMongo, and Redis as a cache of JSON.

A read looks in Redis for the finished JSON and makes it from MongoDB if it is not there; entries never expire, and
a change deletes the product's own entry. It differs from the original where that would be unfair to it or no
comparison: one MongoDB client for the process, lists with filter, sort and limit, writes as durable as ours, and
passwords hashed as ours are. `BENCH_CACHE=off` leaves Redis out.
"""

import json
import os
import time
from typing import Any

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask, Response, request
from pymongo import MongoClient, ReturnDocument
from redis import Redis

_SECRET = os.environ["BENCH_SECRET"]
_DERIVED = ("name_key", "words", "words_name", "words_brand")  # what our service stores for its own queries

app = Flask(__name__)
database: Any = MongoClient(os.environ["BENCH_MONGO_URL"], w="majority", journal=True)[os.environ["BENCH_MONGO_DB"]]
redis = Redis.from_url(os.environ["BENCH_REDIS_URL"]) if os.environ.get("BENCH_CACHE") != "off" else None
hasher = PasswordHasher()


def _json(content: str | bytes, status: int = 200) -> Response:
    return Response(content, status, mimetype="application/json")


def _out(document: dict[str, Any]) -> dict[str, Any]:
    document["product_id"] = document.pop("_id")
    for name in _DERIVED:
        document.pop(name, None)
    return document


def _cached(key: str, make: Any) -> Response:
    if redis is not None and (found := redis.get(key)) is not None:
        return _json(found)
    made = make()
    if made is None:
        return _json('{"error": "not found"}', 404)
    content = json.dumps(made, default=str)
    if redis is not None:
        redis.set(key, content)
    return _json(content)


@app.get("/products/<product_id>")
def get_product(product_id: str) -> Response:
    def find() -> dict[str, Any] | None:
        # By _id alone: with a second condition the embedded engine would read the whole collection.
        document = database.products.find_one({"_id": product_id})
        return _out(document) if document and document["status"] == "active" else None

    return _cached(f"original:product:{product_id}", find)


@app.get("/products")
def list_products() -> Response:
    wanted, least = request.args["category"], int(request.args.get("min_price", 0))

    def find() -> list[dict[str, Any]]:
        match = {"status": "active", "category": wanted, "price.amount": {"$gte": least}}
        found = database.products.find(match).sort([("price.amount", 1), ("_id", 1)]).limit(20)
        return [_out(document) for document in found]

    return _cached(f"original:products:{wanted}:{least}", find)


@app.post("/auth")
def sign_in() -> Response:
    given = request.get_json()
    user = database.users.find_one({"username": given["username"]})
    try:
        hasher.verify(user["password_hash"] if user else "", given["password"])
    except VerifyMismatchError:
        return _json('{"error": "wrong password"}', 401)
    claims = {"sub": given["username"], "role": user["role"], "exp": int(time.time()) + 900}
    return _json(json.dumps({"access_token": jwt.encode(claims, _SECRET, "HS256")}))


@app.put("/products/<product_id>")
def replace_product(product_id: str) -> Response:
    try:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = jwt.decode(token, _SECRET, ["HS256"])
    except jwt.InvalidTokenError:
        return _json('{"error": "sign in"}', 401)
    if claims["role"] != "admin":
        return _json('{"error": "admins only"}', 403)
    fields = request.get_json()
    fields.pop("product_id", None)
    update = {"$set": fields, "$inc": {"version": 1}}
    changed = database.products.find_one_and_update({"_id": product_id}, update, return_document=ReturnDocument.AFTER)
    if changed is None:
        return _json('{"error": "not found"}', 404)
    if redis is not None:
        redis.delete(f"original:product:{product_id}")
    return _json(json.dumps(_out(changed), default=str))
