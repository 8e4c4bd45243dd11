/** The signed-in pages' way to the server: same-origin requests with the session's cookie, and who is signed in.
 *
 * When the server no longer knows the session, `who` becomes null: the door shows the sign-in form while the page
 * below keeps what was typed, and goes on from there. */
import { onMounted, ref, shallowRef, watch } from "vue";
import { Problem, problemOf, Unreachable } from "./problem";
import type { SignedIn } from "./desk";

export type Refusal = Problem | Unreachable;

/** Who is signed in; null before, after and when the session has run out. */
export const who = shallowRef<SignedIn | null>(null);
/** The session ran out under a page that was in use. */
export const ranOut = ref(false);

interface Request {
  body?: unknown;
  /** Idempotency-Key, where the act has one. */
  key?: string;
}

/** When somebody last touched the page; what it asks by itself after a while does not keep the session alive. */
let touched = Date.now();
for (const event of ["pointerdown", "keydown"]) addEventListener(event, () => (touched = Date.now()), { capture: true, passive: true });
const ATTENDED = 60_000;

/** Raises `Problem` where the server refused and `Unreachable` where nothing answered. */
export async function ask<T>(method: "GET" | "POST", path: string, { body, key }: Request = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (method === "POST") headers["content-type"] = "application/json";
  if (key !== undefined) headers["idempotency-key"] = key;
  if (Date.now() - touched > ATTENDED) headers["unattended"] = "1";
  const asked: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store" };
  if (method === "POST") asked.body = JSON.stringify(body ?? {});
  let response: Response;
  let value: unknown;
  try {
    response = await fetch(path, asked);
    if (response.ok && response.status !== 204) value = await response.json();
  } catch {
    throw new Unreachable();
  }
  if (response.ok) return value as T;
  const problem = await problemOf(response);
  if (problem.status === 401 && problem.code !== "sign_in_failed") {
    if (who.value !== null) ranOut.value = true;
    who.value = null;
    throw new Problem(401, {
      code: problem.code,
      title: "登录过期了，刚才的操作没有完成。",
      detail: "重新登录以后请再试一次；填写的内容都还在。",
    });
  }
  throw problem;
}

/** What is asked again by hand or shown to the person; anything else is a fault of ours and goes on up. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Problem || error instanceof Unreachable) return error;
  throw error;
}

function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One Idempotency-Key for each content: sending the same again is the same act, whatever became of the first. */
export class Keys {
  private content = "";
  private key = "";

  of(content: unknown): string {
    const now = JSON.stringify(content);
    if (this.key === "" || now !== this.content) {
      this.content = now;
      this.key = newKey();
    }
    return this.key;
  }

  /** After success: the next act is a new one, even with the same content. */
  done(): void {
    this.key = "";
  }
}

/** Something read from the server: asked for when the page opens, again by hand and after signing in anew. */
export function useAsked<T>(load: () => Promise<T>) {
  const data = shallowRef<T | null>(null);
  const refusal = shallowRef<Refusal | null>(null);
  const busy = ref(false);
  const at = ref<string | null>(null);
  let turn = 0;

  async function again(): Promise<void> {
    const mine = ++turn;
    busy.value = true;
    try {
      const got = await load();
      if (mine !== turn) return;
      data.value = got;
      refusal.value = null;
      at.value = new Date().toISOString();
    } catch (error) {
      if (mine === turn) refusal.value = refusalOf(error);
    } finally {
      if (mine === turn) busy.value = false;
    }
  }

  function forget(): void {
    turn++;
    data.value = null;
    refusal.value = null;
  }

  watch(who, (now, before) => {
    if (now !== null && before === null) void again();
  });
  onMounted(again);
  return { data, refusal, busy, at, again, forget };
}

/** Something done at the server: one at a time, its refusal kept for showing. Gives undefined where it was refused. */
export function useAct<A extends unknown[], T>(run: (...given: A) => Promise<T>) {
  const refusal = shallowRef<Refusal | null>(null);
  const busy = ref(false);

  async function go(...given: A): Promise<T | undefined> {
    if (busy.value) return undefined;
    busy.value = true;
    refusal.value = null;
    try {
      return await run(...given);
    } catch (error) {
      refusal.value = refusalOf(error);
      return undefined;
    } finally {
      busy.value = false;
    }
  }

  return { refusal, busy, go };
}

/** Tabs of one browser share the cookie: what one does about it the others hear. None goes on in the name of somebody
 * who has left, and none shows what they saw. */
const tabs = new BroadcastChannel("sign-in");
tabs.onmessage = ({ data }: MessageEvent<"in" | "out">) => {
  if (data === "in") void recall().catch(refusalOf);
  else left();
};

function left(): void {
  ranOut.value = false;
  who.value = null;
}

export async function signIn(door: SignedIn["door"], name: string, password: string): Promise<void> {
  who.value = await ask<SignedIn>("POST", "/v1/sign-in", { body: { door, name, password } });
  ranOut.value = false;
  tabs.postMessage("in");
}

/** Whom the cookie stands for, if anybody: raises `Unreachable` and every refusal but the missing session. */
export async function recall(): Promise<void> {
  try {
    who.value = await ask<SignedIn>("GET", "/v1/sign-in");
    ranOut.value = false;
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
  }
}

export async function signOut(): Promise<void> {
  await ask("POST", "/v1/sign-out");
  left();
  tabs.postMessage("out");
}
