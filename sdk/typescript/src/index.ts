export { ShopError } from "./errors.js";
export * from "./problems.js";
export type { paths, components } from "./schema.js";
export * from "./shop.js";
export type { Tokens } from "./session.js";
