/** A shop as its callers see it. */

import createClient, { type Client } from "openapi-fetch";
import { InvalidRefreshToken } from "./problems.js";
import type { components, operations, paths } from "./schema.js";
import { Session, type Tokens } from "./session.js";

export type Product = components["schemas"]["ProductOut"];
export type NewProduct = components["schemas"]["ProductIn"];
/** What is absent stays, null removes. */
export type ProductChanges = Omit<components["schemas"]["ProductPatch"], "product_id">;
export type ProductFilters = Filters<"list_products">;
export type User = components["schemas"]["UserOut"];
export type NewUser = components["schemas"]["Registration"];
/** What is absent stays, null removes. */
export type UserChanges = components["schemas"]["UserPatch"];
export type UserFilters = Filters<"list_users">;

type Query<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;
type Filters<Name extends keyof operations> = Omit<Query<Name>, "limit" | "cursor" | "include_total">;

export interface Options {
  /** Those of an earlier sign-in. */
  tokens?: Tokens | undefined;
  /** How often to send what the shop asks to repeat, and what may be repeated after a lost connection. 4 by default. */
  attempts?: number;
  /** Seconds; when the shop asks to wait longer than that, its answer is thrown. 30 by default. */
  longestWait?: number;
}

export class Shop {
  /** Every operation, typed: `shop.api.GET("/products/facets")`. */
  readonly api: Client<paths>;
  readonly products: Products;
  readonly users: Users;
  readonly #session: Session;

  constructor(baseUrl: string, { tokens, attempts = 4, longestWait = 30 }: Options = {}) {
    this.#session = new Session(baseUrl, tokens, attempts, longestWait);
    this.api = createClient<paths>({ baseUrl, fetch: (request) => this.#session.fetch(request) });
    this.products = new Products(this.api);
    this.users = new Users(this.api);
  }

  /** Whose the requests are, to go on with later; undefined when nobody is signed in. */
  get tokens(): Tokens | undefined {
    return this.#session.tokens;
  }

  register(user: NewUser): Promise<User> {
    return held(this.api.POST("/register", { params: { header: newKey() }, body: user }));
  }

  /** From here on the requests are this user's; the access token is refreshed when it has expired. */
  async signIn(username: string, password: string): Promise<void> {
    this.#session.tokens = await this.#session.grant("/auth", { username, password });
  }

  async signOut(): Promise<void> {
    try {
      await this.api.POST("/auth/logout");
    } catch (error) {
      if (!(error instanceof InvalidRefreshToken)) throw error; // it has ended already
    }
    this.#session.tokens = undefined;
  }
}

class Products {
  constructor(private readonly api: Client<paths>) {}

  /** Every product that fits, read page by page while you go on. */
  all(filters: ProductFilters = {}): AsyncGenerator<Product, void> {
    return items((page) => held(this.api.GET("/products", { params: { query: { ...filters, ...page } } })));
  }

  /** The variants of a group, in their order. */
  variants(group: string): AsyncGenerator<Product, void> {
    return this.all({ group });
  }

  get(product_id: string): Promise<Product> {
    return held(this.api.GET("/products/{product_id}", { params: { path: { product_id } } }));
  }

  add(product: NewProduct): Promise<Product> {
    return held(this.api.POST("/products", { params: { header: newKey() }, body: product }));
  }

  /** The next version; throws VersionConflict if `product` is not the current one any more. */
  update(product: Product, changes: ProductChanges): Promise<Product> {
    const params = { path: { product_id: product.product_id }, header: ifMatch(product) };
    return held(this.api.PATCH("/products/{product_id}", { params, body: changes, headers: MERGE_PATCH }));
  }

  /** Throws VersionConflict if `product` is not the current version any more. */
  async remove(product: Product): Promise<void> {
    const params = { path: { product_id: product.product_id }, header: ifMatch(product) };
    await this.api.DELETE("/products/{product_id}", { params });
  }
}

class Users {
  constructor(private readonly api: Client<paths>) {}

  all(filters: UserFilters = {}): AsyncGenerator<User, void> {
    return items((page) => held(this.api.GET("/users", { params: { query: { ...filters, ...page } } })));
  }

  get(username = "me"): Promise<User> {
    return held(this.api.GET("/users/{username}", { params: { path: { username } } }));
  }

  /** The next version; throws VersionConflict if `user` is not the current one any more. */
  update(user: User, changes: UserChanges): Promise<User> {
    const params = { path: { username: user.username }, header: ifMatch(user) };
    return held(this.api.PATCH("/users/{username}", { params, body: changes, headers: MERGE_PATCH }));
  }

  /** Throws VersionConflict if `user` is not the current version any more. */
  async remove(user: User): Promise<void> {
    const params = { path: { username: user.username }, header: ifMatch(user) };
    await this.api.DELETE("/users/{username}", { params });
  }
}

const MERGE_PATCH = { "Content-Type": "application/merge-patch+json" };

const ifMatch = ({ version }: { version: number }) => ({ "if-match": `"${version}"` });

const newKey = () => ({ "Idempotency-Key": crypto.randomUUID() });

/** What an answer holds. Anything but a success has thrown. */
async function held<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

type Page<T> = { items: T[]; next_cursor: string | null };
type Place = { limit: number; cursor?: string };

async function* items<T>(pageAt: (place: Place) => Promise<Page<T>>): AsyncGenerator<T, void> {
  let place: Place | undefined = { limit: 100 };
  while (place) {
    const page: Page<T> = await pageAt(place);
    yield* page.items;
    place = page.next_cursor === null ? undefined : { limit: 100, cursor: page.next_cursor };
  }
}
