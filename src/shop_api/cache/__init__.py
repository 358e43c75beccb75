"""The shared HTTP cache: serves public reads from memory or Redis, at most one second old unless MongoDB is down.

`marking` selects the routes, `middleware` is the ASGI layer, `cache` runs the fills, `memory` and `redis` store
responses, and `follower` reads the changes made elsewhere. Terms are those of RFC 9111 and RFC 9211.
"""
