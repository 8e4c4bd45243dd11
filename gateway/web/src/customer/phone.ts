/** One journey over HTTP: every request carries a fresh proof by the device's key over what it sends (RFC 9449). */
import { Problem, Unreachable, pause, problemOf } from "../api/problem";
import type { Device } from "./device";

const encoder = new TextEncoder();

function base64url(bytes: ArrayBuffer | Uint8Array): string {
  let text = "";
  for (const byte of new Uint8Array(bytes)) text += String.fromCharCode(byte);
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return base64url(await crypto.subtle.digest("SHA-256", bytes));
}

/** 128 random bits: names an act (Idempotency-Key) or a proof. */
export function fresh(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(16)));
}

interface Sent {
  method: "GET" | "POST";
  path: string;
  query?: string;
  body?: Uint8Array<ArrayBuffer>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface Patience {
  /** Milliseconds during which what may be tried again is tried again. */
  patience?: number;
}

const FIRST_PAUSE = 400;
const LONGEST_PAUSE = 5000;
/** Seconds that are waited for in silence; of a longer wait the customer is told. */
const SOON = 3;
/** Without an answer for so long, a request counts as lost. */
const DEADLINE = 25_000;

/** A refusal that goes by itself: somebody behind does not answer now, or it was a moment too soon. One that counts
 * tries (a code entered wrongly too often) says no time, and trying again would only use up more of them. */
function passing(problem: Problem): boolean {
  return problem.status === 503 || (problem.status === 429 && problem.retryAfter !== null && problem.retryAfter <= SOON);
}

export class Phone {
  private nonce = "";
  private heads: Record<string, number> = {};
  /** Told when a request is being repeated, and when one got through. */
  onTrouble: (trying: boolean) => void = () => undefined;

  constructor(readonly device: Device) {}

  get journey(): string {
    return `/v1/journeys/${this.device.journey}`;
  }

  /** One act. Its key stays the same however often it is sent, so that it is done once; each sending has a proof of
   * its own. Raises Problem, or Unreachable when nobody answered. */
  async act<T>(verb: string, body: object = {}, options: Patience & { key?: string } = {}): Promise<T> {
    const answer = await this.patiently(
      {
        method: "POST",
        path: `${this.journey}/${verb}`,
        body: encoder.encode(JSON.stringify(body)),
        headers: { "Content-Type": "application/json", "Idempotency-Key": options.key ?? fresh() },
      },
      options.patience ?? 20_000,
    );
    return (await answer.json()) as T;
  }

  /** Null when it is as the page has it (``etag``). */
  async get<T>(path = "", options: Patience & { query?: string; etag?: string } = {}): Promise<{ body: T | null; etag: string }> {
    const answer = await this.patiently(
      {
        method: "GET",
        path: this.journey + path,
        query: options.query ?? "",
        headers: options.etag ? { "If-None-Match": options.etag } : {},
      },
      options.patience ?? 12_000,
    );
    const etag = answer.headers.get("etag") ?? "";
    return { body: answer.status === 304 ? null : ((await answer.json()) as T), etag };
  }

  async file(path: string, query = ""): Promise<Response> {
    return this.patiently({ method: "GET", path: this.journey + path, query }, 15_000);
  }

  /** The names of facts as they happen, until the server ends the stream or ``signal`` does. */
  async *stream(signal: AbortSignal): AsyncGenerator<string> {
    const answer = await this.proven({
      method: "GET",
      path: `${this.journey}/stream`,
      headers: { Accept: "text/event-stream" },
      signal,
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          if (line.startsWith("event:")) yield line.slice(6).trim();
        }
      }
    } finally {
      void reader.cancel().catch(() => undefined);
    }
  }

  private async patiently(sent: Sent, patience: number): Promise<Response> {
    const until = Date.now() + patience;
    let wait = FIRST_PAUSE;
    for (;;) {
      let again: number;
      try {
        const answer = await this.proven(sent);
        this.onTrouble(false);
        return answer;
      } catch (error) {
        if (error instanceof Unreachable) again = wait;
        else if (error instanceof Problem && passing(error)) {
          again = error.retryAfter !== null ? error.retryAfter * 1000 : wait;
        } else throw error;
        if (Date.now() + again > until) {
          this.onTrouble(false);
          throw error;
        }
      }
      this.onTrouble(true);
      await pause(again * (0.8 + 0.4 * Math.random()));
      wait = Math.min(wait * 2, LONGEST_PAUSE);
    }
  }

  private async proven(sent: Sent): Promise<Response> {
    try {
      return await this.once(sent);
    } catch (error) {
      // The refusal brought a nonce of the server's (RFC 9449 §8).
      if (!(error instanceof Problem) || error.code !== "use_dpop_nonce") throw error;
    }
    return this.once(sent);
  }

  private async once(sent: Sent): Promise<Response> {
    if (!this.nonce) await this.firstNonce();
    const headers: Record<string, string> = { ...sent.headers, DPoP: await this.proof(sent) };
    if (this.device.token) headers["Authorization"] = `DPoP ${this.device.token}`;
    const heads = Object.entries(this.heads).map(([service, at]) => `${service}=${at}`);
    if (heads.length) headers["Journey-Heads"] = heads.sort().join(",");
    let answer: Response;
    const deadline = sent.signal ? null : new AbortController();
    const timer = deadline && setTimeout(() => deadline.abort(), DEADLINE);
    try {
      answer = await fetch(sent.path + (sent.query ?? ""), {
        method: sent.method,
        headers,
        cache: "no-store",
        redirect: "error",
        ...(sent.body ? { body: sent.body } : {}),
        signal: sent.signal ?? deadline!.signal,
      });
    } catch {
      throw new Unreachable();
    } finally {
      if (timer) clearTimeout(timer);
    }
    this.heard(answer);
    if (!answer.ok && answer.status !== 304) throw await problemOf(answer);
    return answer;
  }

  private async firstNonce(): Promise<void> {
    try {
      this.heard(await fetch("/v1/nonce", { method: "POST", cache: "no-store" }));
    } catch {
      throw new Unreachable();
    }
  }

  private heard(answer: Response): void {
    this.nonce = answer.headers.get("dpop-nonce") ?? this.nonce;
    for (const pair of (answer.headers.get("journey-heads") ?? "").split(",")) {
      const [service, at] = pair.split("=");
      if (service && at) this.heads[service] = Math.max(Number(at), this.heads[service] ?? 0);
    }
  }

  private async proof(sent: Sent): Promise<string> {
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: this.device.jwk };
    const claims = {
      jti: fresh(),
      htm: sent.method,
      htu: location.origin + sent.path,
      // Said because the standard asks for it; how fresh a proof is the server's nonce decides.
      iat: Math.floor(Date.now() / 1000),
      nonce: this.nonce,
      bh: await sha256(sent.body ?? new Uint8Array()),
      ...(this.device.token ? { ath: await sha256(encoder.encode(this.device.token)) } : {}),
    };
    const said = [header, claims].map((part) => base64url(encoder.encode(JSON.stringify(part)))).join(".");
    const signature = await crypto.subtle.sign(
      { name: "ECDSA", hash: "SHA-256" },
      this.device.keys.privateKey,
      encoder.encode(said),
    );
    return `${said}.${base64url(signature)}`;
  }
}
