/** The journey as this page knows it: what the server last said, and nothing else. Which page comes next is the
 * server's word (``place.step``); an act is sent, and then the server is asked again. */
import { reactive, readonly } from "vue";
import { Problem, Unreachable, pause } from "../api/problem";
import type { Card, DownloadLink, JourneyView, SessionToken } from "./types";
import { type Device, canProve, keepDevice, knownDevice, lastJourney, newDevice } from "./device";
import { Phone } from "./phone";

export type Phase = "starting" | "unable" | "no_link" | "closed" | "live" | "stopped";

interface State {
  phase: Phase;
  view: JourneyView | null;
  /** Personal values in full, while the customer wants to see them. */
  revealed: Card | null;
  /** Why it doesn't go on (``stopped``). */
  problem: Problem | null;
  online: boolean;
  /** A request is being repeated. */
  trying: boolean;
  /** Back from the face platform: its result is waiting to be fetched. */
  returnedFromFace: boolean;
  /** For a screen reader: what just happened. */
  said: string;
}

const state = reactive<State>({
  phase: "starting",
  view: null,
  revealed: null,
  problem: null,
  online: navigator.onLine,
  trying: false,
  returnedFromFace: false,
  said: "",
});

/** After these nothing on this page can go on; the page says what happened and what to do. */
const ENDS = new Set([
  "journey_unknown", "journey_expired", "journey_withdrawn", "link_invalid", "device_bound", "session_expired",
  "session_not_open", "proof_key_changed", "proof_token", "not_the_customer", "credentials_missing",
]);
/** The page showed something old: the server is asked again. */
const LOOK_AGAIN = new Set([
  "already_done", "reproof_required", "terms_changed", "notice_changed", "document_changed", "form_changed",
  "forms_not_prepared", "advice_changed", "declaration_changed", "items_incomplete", "identity_missing",
  "identity_expired", "order_paid", "write_conflict", "point_not_ready", "forms_unreviewed", "already_signed",
  "review_pending",
]);

/** A writing that was not taken: the pad may look different now. */
const NOT_TAKEN = /^(ink|handwriting|phrase)_/;

const LOOK_LATER = 2500;

let phone: Phone | null = null;
let secret: string | null = null;
let id: string | null = null;
let etag = "";
let looking: Promise<void> | null = null;
let lookAgain = false;
let later: ReturnType<typeof setTimeout> | undefined;

function current(): Phone {
  if (phone === null) throw new Error("no journey is open");
  return phone;
}

function taken(device: Device): void {
  phone = new Phone(device);
  phone.onTrouble = (trying) => {
    state.trying = trying;
  };
}

/** Journey and secret as the address has them; a link mangled on its way names neither. */
function linked(): string[] {
  try {
    return decodeURIComponent(location.hash.slice(1)).split(".");
  } catch {
    return [];
  }
}

/** What the address says: ``#<journey>.<secret>`` from the SMS, ``#<journey>`` once it was opened here. */
async function begin(): Promise<void> {
  if (!(await canProve())) {
    state.phase = "unable";
    return;
  }
  const [named, given] = linked();
  state.returnedFromFace = new URLSearchParams(location.search).has("face_session");
  id = named && /^[0-9A-HJKMNP-TV-Z]{26}$/.test(named) ? named : await lastJourney();
  if (id === null) {
    state.phase = "no_link";
    return;
  }
  const device = await knownDevice(id);
  secret = given || device?.secret || null;
  if (device?.token) {
    taken(device);
    tidyAddress();
    await look();
    if (state.phase === "starting") state.phase = "live";
    void listen();
  } else {
    state.phase = secret ? "closed" : "no_link";
  }
}

/** The secret leaves the address, where it could be passed on with a screenshot or a "share", once this phone keeps it. */
function tidyAddress(): void {
  if (phone?.device.token) history.replaceState(history.state, "", `${location.pathname}#${id}`);
}

/** The tap on the first page: binds this phone to the journey (I12). Raises Problem or Unreachable. */
async function open(): Promise<void> {
  if (id === null || secret === null) {
    state.phase = "no_link";
    return;
  }
  try {
    const known = phone?.device.journey === id ? phone.device : await knownDevice(id);
    const device: Device = { ...(known ?? (await newDevice(id, secret))), secret, token: null };
    taken(device);
    const session = await current().act<SessionToken>("open-session", { link_secret: secret });
    device.token = session.session_token;
    await keepDevice({ ...device });
    tidyAddress();
    state.problem = null;
    etag = "";
    state.view = null;
    await look();
    state.phase = "live";
    void listen();
  } catch (error) {
    if (error instanceof Problem && ENDS.has(error.code)) stop(error);
    else throw error;
  }
}

function stop(problem: Problem): void {
  state.problem = problem;
  state.phase = "stopped";
}

/** Asks the server what is so. Several at once become one, and one more after it. */
function look(): Promise<void> {
  if (looking !== null) {
    lookAgain = true;
    return looking;
  }
  looking = (async () => {
    try {
      do {
        lookAgain = false;
        await lookOnce();
      } while (lookAgain);
    } finally {
      looking = null;
    }
  })();
  return looking;
}

/** What could not be seen now is looked for again, without anybody pressing anything. */
function lookLater(): void {
  clearTimeout(later);
  later = setTimeout(() => void (state.phase === "live" && look()), LOOK_LATER);
}

async function lookOnce(): Promise<void> {
  clearTimeout(later);
  try {
    const { body, etag: tag } = await current().get<JourneyView>("", etag ? { etag } : {});
    if (body !== null) {
      state.view = body;
      etag = tag;
    }
    state.online = true;
    if (state.view?.unavailable?.length || state.view?.place.step === "wait") lookLater();
  } catch (error) {
    if (error instanceof Problem && ENDS.has(error.code)) stop(error);
    else if (error instanceof Problem || error instanceof Unreachable) {
      if (error instanceof Unreachable) state.online = false;
      lookLater();
    } else throw error;
  }
}

/** One act of the customer's will, and then a look. Raises Problem (to be shown where the act was) or Unreachable. */
async function act<T = unknown>(verb: string, body: object = {}, key?: string): Promise<T> {
  try {
    const reply = await current().act<T>(verb, body, key ? { key } : {});
    await look();
    return reply;
  } catch (error) {
    if (error instanceof Unreachable) {
      state.online = false;
      // Whether it arrived, nobody knows; the next look tells.
      lookLater();
    }
    if (error instanceof Problem) {
      if (ENDS.has(error.code)) stop(error);
      else if (LOOK_AGAIN.has(error.code) || NOT_TAKEN.test(error.code)) {
        etag = "";
        await look();
      }
    }
    throw error;
  }
}

/** A heartbeat or a draft: no act of will, and nothing to look at afterwards. */
async function beat<T = unknown>(verb: string, body: object): Promise<T> {
  try {
    const reply = await current().act<T>(verb, body, { patience: 0 });
    state.online = true;
    return reply;
  } catch (error) {
    if (error instanceof Unreachable) state.online = false;
    if (error instanceof Problem) {
      if (ENDS.has(error.code)) stop(error);
      else if (LOOK_AGAIN.has(error.code)) await look();
    }
    throw error;
  }
}

async function reveal(shown: boolean): Promise<void> {
  if (!shown) {
    state.revealed = null;
    return;
  }
  const { body } = await current().get<JourneyView>("", { query: "?reveal=true" });
  state.revealed = body?.card.revealed ? body.card : null;
}

let listening = false;

/** Follows the event stream for as long as the journey lives here; each event only means: look again. */
async function listen(): Promise<void> {
  if (listening) return;
  listening = true;
  let wait = 1000;
  while (state.phase === "live") {
    try {
      for await (const event of current().stream(new AbortController().signal)) {
        wait = 1000;
        state.online = true;
        if (event !== "end") await look();
        if (state.phase !== "live") break;
      }
    } catch (error) {
      if (error instanceof Problem && ENDS.has(error.code)) {
        stop(error);
        break;
      }
      if (error instanceof Unreachable) state.online = navigator.onLine && state.online;
    }
    await pause(wait);
    wait = Math.min(wait * 2, 15_000);
  }
  listening = false;
}

window.addEventListener("online", () => {
  state.online = true;
  if (state.phase === "live") void look();
});
window.addEventListener("offline", () => {
  state.online = false;
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && state.phase === "live") void look();
});
// Back from another site by the browser's own memory of this page.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && state.phase === "live") void look();
});
// Another link, opened in this very tab: the address changes and nothing is loaded.
window.addEventListener("hashchange", () => {
  const [named, given] = linked();
  if (given && (named !== id || given !== secret)) location.reload();
});

export function say(words: string): void {
  // The same words twice are said twice.
  state.said = words === state.said ? `${words}\u00a0` : words;
}

export const journey = {
  state: readonly(state) as Readonly<State>,
  begin,
  open,
  tidyAddress,
  look,
  act,
  beat,
  reveal,
  get: <T>(path: string) => current().get<T>(path).then(({ body }) => body as T),
  /** An address that works once; asking changes nothing of the journey. */
  offer: (path: string) => current().act<DownloadLink>(path.slice(1)),
  file: (path: string, query = "") => current().file(path, query),
  faceTaken: () => {
    state.returnedFromFace = false;
    history.replaceState(history.state, "", `${location.pathname}${location.hash}`);
  },
  /** Whether the link's secret is at hand, so that the journey can be opened again from here. */
  canOpen: () => secret !== null,
};
