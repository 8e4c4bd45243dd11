/** Refusals as every page meets them: RFC 9457 problem details with a stable code and sentences for people. */

export interface FieldFault {
  pointer: string;
  code: string;
  detail: string;
}

export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  /** What to do next. */
  readonly detail: string;
  readonly errors: readonly FieldFault[];
  /** Seconds, where the server said when to come again. */
  readonly retryAfter: number | null;
  readonly more: Readonly<Record<string, unknown>>;

  constructor(status: number, body: Record<string, unknown>, retryAfter: number | null = null) {
    const title = typeof body["title"] === "string" ? body["title"] : "系统暂时没有回应。";
    super(title);
    this.name = "Problem";
    this.status = status;
    this.code = typeof body["code"] === "string" ? body["code"] : "internal";
    this.title = title;
    this.detail = typeof body["detail"] === "string" ? body["detail"] : "请稍等片刻再试。";
    this.errors = Array.isArray(body["errors"]) ? (body["errors"] as FieldFault[]) : [];
    this.retryAfter = retryAfter;
    this.more = body;
  }
}

/** The network gave no answer: nothing is known of what became of the request. */
export class Unreachable extends Error {
  constructor() {
    super("网络没有回应。");
    this.name = "Unreachable";
  }
}

export async function problemOf(response: Response): Promise<Problem> {
  let body: Record<string, unknown> = {};
  try {
    body = (await response.json()) as Record<string, unknown>;
  } catch {
    // Not from our server: a proxy's page, say. The sentence of an unknown problem is shown.
  }
  const wait = Number(response.headers.get("retry-after") ?? "");
  return new Problem(response.status, body, Number.isFinite(wait) && wait > 0 ? wait : null);
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
