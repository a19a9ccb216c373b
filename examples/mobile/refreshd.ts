// A small client of refreshd for front ends: calls with the user's token, and
// the state of his credential, first as it is and then after every change. It
// needs fetch and nothing else, so it runs in a mobile app as well as in node.
//
// Give it a key of that one user, who has whatever is on his device:
//
//   refreshd key create phone --scope token:read --scope event:read --subject uid-1

export type State = "pending" | "active" | "degraded" | "expired" | "reauth_required" | "logged_out" | "deleted";

/** How it stands with a credential. */
export interface CredentialState {
  readonly state: State;
  readonly reason: string; // why, such as "invalid_grant"; may be empty
  readonly version: number; // grows with every change; 0 where nothing is stored
  readonly expiresAt: Date | null; // end of the token, or of the session unless it is used
}

/** Whether the user is signed in; else he has to do it, unless he left himself. */
export const signedIn = (s: CredentialState): boolean => s.state !== "reauth_required" && s.state !== "logged_out" && s.state !== "deleted";

/** A call that refreshd refused. No error of this client holds a token or the key. */
export class RefreshdError extends Error {
  override readonly name: string = "RefreshdError";
  constructor(readonly status: number, readonly code: string, detail: string) {
    super(detail);
  }
}

/** Only the user can mend it: "reauth_required", "logged_out" or "fresh_rejected". */
export class ReauthError extends RefreshdError {
  override readonly name = "ReauthError";
  constructor(status: number, code: string, detail: string, readonly reason: string) {
    super(status, code, detail);
  }
}

/** Nothing is stored under that ID, or it is another user's. */
export class NotFoundError extends RefreshdError {
  override readonly name = "NotFoundError";
}

/** Not now: refreshd cannot be reached, or gets no token at the moment. */
export class UnavailableError extends RefreshdError {
  override readonly name = "UnavailableError";
  constructor(status: number, code: string, detail: string, readonly retryAfter: number /* seconds */) {
    super(status, code, detail);
  }
}

interface Token {
  access_token: string;
  token_type: string;
  expires_in: number; // seconds
  generation: number;
  send: { as: "bearer" | "header" | "cookie"; name?: string };
}

interface Held {
  readonly token: Token;
  readonly until: number; // by this machine's clock, in ms
}

interface Page {
  events: { event: { type: string; data: { credential: string; state: State; reason?: string; version: number; expires_at?: string } } }[];
  cursor: string;
}

/** A request that can be sent a second time. */
export type Request = Omit<RequestInit, "body" | "redirect"> & { body?: string | Blob | FormData | URLSearchParams };

export class Refreshd {
  private readonly held = new Map<string, Held>();
  private readonly asked = new Map<string, Promise<Token>>();

  constructor(private readonly url: string, private readonly key: string) {}

  /** Sends a request with the token of a credential. Where the API says 401, the
   * token is replaced, once for all requests that used it, and the request is
   * sent again, once. A redirect is an error: it could take the token elsewhere. */
  async fetch(id: string, url: string, request: Request = {}): Promise<Response> {
    const token = await this.token(id);
    const first = await fetch(url, carry(token, request));
    if (first.status !== 401) return first;
    await first.body?.cancel();
    return fetch(url, carry(await this.refresh(id, token.generation), request));
  }

  /** The state as it is, and then after every change, without a hole between. It
   * goes on through outages, and ends when the caller leaves the loop. */
  async *state(id: string): AsyncGenerator<CredentialState, never> {
    let last: CredentialState | undefined;
    for (let cursor = "", pause = 1; ; ) {
      try {
        if (cursor === "") {
          // The place in the log comes before the look: what happens after it is
          // among the events.
          const end: Page = await this.call("GET", "/v1/events?limit=1");
          const now = await this.look(id);
          cursor = end.cursor;
          if (last?.version !== now.version) yield (last = now);
        }
        const page: Page = await this.call("GET", `/v1/events?wait=30s&prefix=${encodeURIComponent(id)}&cursor=${encodeURIComponent(cursor)}`);
        cursor = page.cursor;
        for (const { event } of page.events) {
          if (event.type === "stream.reset") cursor = ""; // events are missing: look again
          const told = event.data;
          if (told?.credential !== id || told.version <= (last?.version ?? 0)) continue; // a longer ID, or it came twice
          const end = told.expires_at === undefined ? null : new Date(told.expires_at);
          const deleted = told.state === "deleted"; // what is stored there anew begins again
          yield (last = { state: told.state, reason: told.reason ?? "", version: deleted ? 0 : told.version, expiresAt: end });
        }
        pause = 1;
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        const seconds = Math.max(error.retryAfter, pause * (0.5 + Math.random()));
        await new Promise((over) => setTimeout(over, 1000 * seconds));
        pause = Math.min(2 * pause, 30);
      }
    }
  }

  private async look(id: string): Promise<CredentialState> {
    try {
      const r = await this.call<{ state: State; reason?: string; version: number; expires_at?: string }>("GET", path(id));
      return { state: r.state, reason: r.reason ?? "", version: r.version, expiresAt: r.expires_at === undefined ? null : new Date(r.expires_at) };
    } catch (error) {
      if (error instanceof NotFoundError) return { state: "deleted", reason: "", version: 0, expiresAt: null };
      throw error;
    }
  }

  /** The token in hand, or the one that refreshd has. */
  private async token(id: string): Promise<Token> {
    const held = this.held.get(id);
    if (held !== undefined && Date.now() < held.until) return held.token;
    return this.once(id, "token", () => this.call<Token>("GET", path(id) + "/token?min_ttl=10s"));
  }

  /** A newer token than the one that was refused. */
  private async refresh(id: string, rejected: number): Promise<Token> {
    const held = this.held.get(id);
    if (held !== undefined && held.token.generation > rejected) return held.token;
    return this.once(id, `refresh ${rejected}`, () => this.call<Token>("POST", path(id) + "/refresh", { rejected_generation: rejected }));
  }

  /** Asks once, however many want to know. */
  private once(id: string, what: string, ask: () => Promise<Token>): Promise<Token> {
    const name = `${id} ${what}`;
    let answer = this.asked.get(name);
    if (answer === undefined) {
      answer = ask()
        .then((token) => {
          this.held.set(id, { token, until: Date.now() + 1000 * (token.expires_in - 10) });
          return token;
        })
        .finally(() => this.asked.delete(name));
      this.asked.set(name, answer);
    }
    return answer;
  }

  private async call<T>(method: string, where: string, body?: object): Promise<T> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.key}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), 60_000);
    let reply: Response, answer: unknown;
    try {
      reply = await fetch(this.url + where, { method, headers, redirect: "error", signal: limit.signal, ...(body && { body: JSON.stringify(body) }) });
      answer = await reply.json().catch((cut: unknown) => {
        if (reply.ok) throw cut;
        return {}; // a proxy's words
      });
    } catch {
      throw new UnavailableError(0, "", "refreshd cannot be reached", 0);
    } finally {
      clearTimeout(timer);
    }
    if (!reply.ok) throw failure(reply, answer as Problem);
    return answer as T;
  }
}

interface Problem { // RFC 9457
  code?: string;
  detail?: string;
  reason?: string;
  retry_after?: number;
}

function failure(reply: Response, { code = "", detail = reply.statusText, reason = "", retry_after = 0 }: Problem): RefreshdError {
  if (code === "reauth_required" || code === "logged_out" || code === "fresh_rejected") return new ReauthError(reply.status, code, detail, reason);
  if (code === "not_found") return new NotFoundError(reply.status, code, detail);
  if (reply.status === 429 || reply.status >= 500) return new UnavailableError(reply.status, code, detail, retry_after);
  return new RefreshdError(reply.status, code, detail);
}

const path = (id: string): string => "/v1/credentials/" + encodeURIComponent(id);

/** Puts the token on a request, as the provider's configuration has it. */
function carry(token: Token, request: Request): RequestInit {
  const headers = new Headers(request.headers);
  const name = token.send.name ?? "";
  switch (token.send.as) {
    case "bearer":
      headers.set("Authorization", `${token.token_type} ${token.access_token}`);
      break;
    case "header":
      headers.set(name, token.access_token);
      break;
    case "cookie": // browsers do not let a page set it
      headers.set("Cookie", `${name}=${token.access_token}`);
      break;
  }
  return { ...request, headers, redirect: "error" };
}
