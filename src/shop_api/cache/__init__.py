"""The shared HTTP cache: public reads at the price of a dictionary, never older than one second.

`marking` says which routes take part, `middleware` speaks ASGI, `cache` decides, `memory` and `redis` hold, and
`follower` learns of changes that were made elsewhere. Terms are those of RFC 9111 and RFC 9211.
"""
