import type { components } from "./schema.js";

export type Problem = components["schemas"]["Problem"];

/** An answer of the shop that is not a success (RFC 9457). Its class tells its `code`. */
export class ShopError extends Error {
  readonly status: number;
  /** A stable name; empty if something between here and the shop has answered in its place. */
  readonly code: string;
  readonly detail: string;
  /** Finds the request in the shop's log. */
  readonly requestId: string;
  /** With InvalidRequest: each thing that is wrong. */
  readonly errors: readonly components["schemas"]["ProblemField"][];
  /** With VersionConflict: the version that the resource has now. */
  readonly currentVersion: number | undefined;

  constructor(response: Response, problem: Partial<Problem>) {
    const detail = problem.detail ?? response.statusText;
    super(`${response.status} ${problem.code ?? ""}: ${detail}`);
    this.name = new.target.name;
    this.status = response.status;
    this.code = problem.code ?? "";
    this.detail = detail;
    this.requestId = response.headers.get("X-Request-ID") ?? "";
    this.errors = problem.errors ?? [];
    this.currentVersion = problem.current_version ?? undefined;
  }
}
