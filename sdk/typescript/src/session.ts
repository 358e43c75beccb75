/** The way to a shop: who is signed in, what is tried again, and what is thrown. */

import { ShopError, type Problem } from "./errors.js";
import { InvalidRefreshToken, InvalidToken, KINDS } from "./problems.js";
import type { components } from "./schema.js";

export type Tokens = components["schemas"]["Tokens"];

const TIMEOUT = 10_000;
const SAFE = ["GET", "HEAD", "OPTIONS"];
// With Retry-After the shop has asked for the same request again. 409 has it while the same Idempotency-Key is in use.
const LATER = [409, 429, 503];

export class Session {
  #refreshing: Promise<void> | undefined;

  constructor(
    private readonly baseUrl: string,
    public tokens: Tokens | undefined,
    private readonly attempts: number,
    private readonly longestWait: number,
  ) {}

  /** The answer, if it is a success; throws ShopError if it is not, and what `fetch` throws if there is none. */
  async fetch(request: Request): Promise<Response> {
    const used = this.tokens;
    try {
      return await this.#answer(request, used);
    } catch (error) {
      if (!(error instanceof InvalidToken) || !used) throw error;
    }
    await this.#refresh(used);
    return await this.#answer(request, this.tokens);
  }

  /** Tokens for a password or for a refresh token. */
  async grant(path: string, given: Record<string, string>): Promise<Tokens> {
    const headers = { "Content-Type": "application/json" };
    const request = new Request(this.baseUrl + path, { method: "POST", headers, body: JSON.stringify(given) });
    return (await (await this.#answer(request, undefined)).json()) as Tokens;
  }

  async #refresh(used: Tokens): Promise<void> {
    if (this.tokens !== used) return;
    // A refresh token that is sent twice ends the session: of several callers one sends it, the others wait.
    this.#refreshing ??= this.#renew(used.refresh_token).finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  async #renew(refresh_token: string): Promise<void> {
    try {
      this.tokens = await this.grant("/auth/refresh", { refresh_token });
    } catch (error) {
      if (error instanceof InvalidRefreshToken) this.tokens = undefined;
      throw error;
    }
  }

  async #answer(request: Request, tokens: Tokens | undefined): Promise<Response> {
    const repeatable = SAFE.includes(request.method) || request.headers.has("Idempotency-Key");
    for (let attempt = 1; ; attempt++) {
      let wait = (0.05 + 0.05 * Math.random()) * 2 ** attempt;
      try {
        const sent = request.clone();
        if (tokens) sent.headers.set("Authorization", `Bearer ${tokens.access_token}`);
        const response = await fetch(sent, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(TIMEOUT)]) });
        if (response.ok) return response;
        const asked = response.headers.get("Retry-After") ?? "";
        const later = LATER.includes(response.status) && /^\d+$/.test(asked);
        if (later) wait = Number(asked);
        else if (response.status !== 502 || !repeatable) throw await refusal(response);
        if (attempt === this.attempts || wait > this.longestWait) throw await refusal(response);
        await response.body?.cancel();
      } catch (error) {
        const final = error instanceof ShopError || request.signal.aborted || attempt === this.attempts;
        if (final || !repeatable) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }
}

async function refusal(response: Response): Promise<ShopError> {
  const said = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  const problem = said ? ((await response.json()) as Partial<Problem>) : {};
  const kinds: Record<string, typeof ShopError> = KINDS;
  const Kind = kinds[problem.code ?? ""] ?? ShopError;
  return new Kind(response, problem);
}
