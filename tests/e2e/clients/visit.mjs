// What fetch does with the service, in node and in a browser: the statuses of a visit.
export async function visit(url, name, username, password) {
  const statuses = [];
  async function ask(method, path, headers, body) {
    const response = await fetch(url + path, {
      method,
      headers: { "Content-Type": "application/json", ...headers },
      body: body && JSON.stringify(body),
    });
    statuses.push(response.status);
    return { body: await response.json(), etag: response.headers.get("ETag") };
  }
  const { body: tokens } = await ask("POST", "/auth", {}, { username, password });
  const admin = { Authorization: `Bearer ${tokens.access_token}` };
  const product = { product_id: name, name, price: { amount: 999, currency: "EUR" } };
  await ask("POST", "/products", admin, product);
  const { etag } = await ask("GET", `/products/${name}`, admin);
  await ask("POST", "/products", admin, product);
  await ask("PATCH", `/products/${name}`, { ...admin, "If-Match": etag }, { stock: 1 });
  await ask("PATCH", `/products/${name}`, { ...admin, "If-Match": etag }, { stock: 2 });
  return statuses;
}
