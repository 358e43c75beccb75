// Run by tests/sdk/test_typescript.py of the repository, with a running service.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, suite, test } from "node:test";
import * as client from "shop-client";

const url = process.env.SHOP_URL ?? "";
const password = process.env.SHOP_PASSWORD ?? "";
const expired = JSON.parse(process.env.SHOP_EXPIRED ?? "") as client.Tokens;

async function signedIn(username: string): Promise<client.Shop> {
  const shop = new client.Shop(url);
  await shop.signIn(username, password);
  return shop;
}

suite("sign-in", () => {
  test("registers, signs in and out", async () => {
    await new client.Shop(url).register({ username: "linus", password, email: "linus@shop.example" });
    const shop = await signedIn("linus");
    assert.equal((await shop.users.get()).email, "linus@shop.example");
    const tokens = shop.tokens!;
    await shop.signOut();
    assert.equal(shop.tokens, undefined);
    await assert.rejects(new client.Shop(url, { tokens }).users.get(), client.InvalidRefreshToken);
    await new client.Shop(url, { tokens }).signOut();
  });

  test("twenty requests with an expired access token share one refresh", async () => {
    // A second one would spend a spent token, which ends the session.
    const shop = new client.Shop(url, { tokens: expired });
    const users = await Promise.all(Array.from({ length: 20 }, () => shop.users.get()));
    assert.deepEqual(new Set(users.map((user) => user.username)), new Set(["root"]));
    assert.notEqual(shop.tokens?.refresh_token, expired.refresh_token);
    const { data } = await shop.api.GET("/users/me/sessions");
    assert.ok(data?.items.some((session) => session.current));
  });

  test("a wrong password is told from a missing token", async () => {
    await assert.rejects(new client.Shop(url).signIn("root", "wrong"), client.InvalidCredentials);
    await assert.rejects(new client.Shop(url).users.get(), client.Unauthenticated);
  });
});

suite("products", () => {
  test("iteration yields all thousand once, or those that fit", async () => {
    const shop = new client.Shop(url);
    const ids: string[] = [];
    for await (const product of shop.products.all()) ids.push(product.product_id);
    assert.deepEqual([ids.length, new Set(ids).size], [1000, 1000]);
    const found: client.Product[] = [];
    for await (const product of shop.products.all({ category: "beauty", in_stock: true })) found.push(product);
    assert.equal(found.length, 99);
  });

  test("variants come in their order", async () => {
    const ids: string[] = [];
    for await (const product of new client.Shop(url).products.variants("tea set")) ids.push(product.product_id);
    assert.deepEqual(ids, ["p0002", "p0001", "p0000"]);
  });

  test("an update of a stale version is a conflict", async () => {
    const shop = await signedIn("root");
    const read = await shop.products.add({ name: "Gyokuro", price: { amount: 900, currency: "JPY" } });
    const changed = await shop.products.update(read, { stock: 3, price: { amount: 950 } });
    assert.deepEqual([changed.version, changed.price], [read.version + 1, { amount: 950, currency: "JPY" }]);
    await assert.rejects(shop.products.update(read, { stock: 4 }), (error: unknown) => {
      assert.ok(error instanceof client.VersionConflict);
      assert.deepEqual([error.status, error.code, error.currentVersion], [412, "version_conflict", read.version + 1]);
      return true;
    });
    await assert.rejects(shop.products.remove(read), client.VersionConflict);
    await shop.products.remove(changed);
    await assert.rejects(shop.products.get(read.product_id), client.ProductNotFound);
  });

  test("a taken id and a refused field have classes of their own", async () => {
    const shop = await signedIn("root");
    const taken = { product_id: "p0000", name: "Taken", price: { amount: 1, currency: "INR" as const } };
    await assert.rejects(shop.products.add(taken), client.DuplicateProduct);
    await assert.rejects(shop.products.add({ ...taken, name: "" }), (error: unknown) => {
      assert.ok(error instanceof client.InvalidRequest && error.requestId);
      assert.deepEqual(error.errors.map((field) => field.loc), [["body", "name"]]);
      return true;
    });
  });
});

suite("users", () => {
  test("an admin lists, changes and removes them", async () => {
    const shop = await signedIn("root");
    const barbara = await shop.register({ username: "barbara", password });
    const names: string[] = [];
    for await (const user of shop.users.all({ role: "user" })) names.push(user.username);
    assert.ok(names.includes("barbara"));
    const disabled = await shop.users.update(barbara, { disabled: true });
    await assert.rejects(shop.users.remove(barbara), client.VersionConflict);
    await shop.users.remove(disabled);
    await assert.rejects(shop.users.get("barbara"), client.UserNotFound);
  });
});

suite("in trouble", () => {
  /** The status and Retry-After of each answer to come; status 0 closes the connection without one. */
  let answers: [status: number, retryAfter?: string][] = [];
  let keys: unknown[] = [];
  const codes: Record<number, string> = { 429: "rate_limited", 502: "upstream_unavailable", 503: "database_unavailable" };
  const server = createServer((request, response) => {
    keys.push(request.headers["idempotency-key"]);
    const [status, retryAfter] = answers.shift() ?? [500];
    if (status === 0) return request.socket.destroy();
    response.setHeader("Connection", "close");
    response.setHeader("Content-Type", status < 300 ? "application/json" : "application/problem+json");
    if (retryAfter) response.setHeader("Retry-After", retryAfter);
    response.writeHead(status).end(JSON.stringify({ code: codes[status], product_id: "a", version: 1 }));
  });
  let shop: client.Shop;

  before(async () => {
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    shop = new client.Shop(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
  beforeEach(() => {
    keys = [];
  });
  after(() => server.close());

  test("what the shop asks to repeat is repeated, after as long as it says", async () => {
    const began = performance.now();
    answers = [[429, "0"], [503, "1"], [200]];
    assert.equal((await shop.products.get("a")).product_id, "a");
    assert.ok(performance.now() - began >= 990);
  });

  test("not when that is too long or not said, nor without end", async () => {
    answers = [[429, "31"], [429], [503, "0"], [503, "0"], [503, "0"], [503, "0"]];
    await assert.rejects(shop.products.get("a"), client.RateLimited);
    await assert.rejects(shop.products.get("a"), client.RateLimited);
    await assert.rejects(shop.products.get("a"), client.DatabaseUnavailable);
    assert.equal(keys.length, 6);
  });

  test("a creating POST is repeated with its key", async () => {
    answers = [[0], [502], [201]];
    await shop.products.add({ name: "Sencha", price: { amount: 900, currency: "JPY" } });
    assert.equal(keys.length, 3);
    assert.equal(new Set(keys).size, 1);
    assert.match(String(keys[0]), /^[0-9a-f-]{36}$/);
  });

  test("a change is not repeated when nobody knows whether it happened", async () => {
    answers = [[200], [0], [502]];
    const product = await shop.products.get("a");
    await assert.rejects(shop.products.update(product, { stock: 1 }), TypeError);
    await assert.rejects(shop.products.update(product, { stock: 1 }), { status: 502 });
    assert.equal(keys.length, 3);
  });
});

suite("types", () => {
  test("what does not fit the document does not compile", () => {
    // Never called: it is there for the compiler.
    const wrong = async (shop: client.Shop, product: client.Product) => {
      // @ts-expect-error: stock is a number
      await shop.products.update(product, { stock: "3" });
      // @ts-expect-error: there is no such filter
      shop.products.all({ colour: "red" });
      // @ts-expect-error: there is no such path
      await shop.api.GET("/orders");
      // @ts-expect-error: an amount is not text, which it could be if it were `any`
      const text: string = product.price.amount;
      return text;
    };
    assert.equal(typeof wrong, "function");
  });
});
