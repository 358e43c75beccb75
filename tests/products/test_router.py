"""/products over HTTP."""

from factories import a_product


class TestGet:
    async def test_returns_what_was_added(self, admin, anyone):
        added = await admin.post("/products", json=a_product())
        assert added.status_code == 201
        assert added.headers["location"] == "/products/tea-assam-250"
        found = await anyone.get("/products/tea-assam-250")
        assert found.json() == added.json()
        assert found.headers["etag"] == '"1"'
