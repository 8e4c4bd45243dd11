/** The phone's key of one journey: P-256, made here, never readable by anybody, this page included (I12).
 *
 * Beside it lie the link's secret and the session's token, so that a reload or the way back from another site goes on
 * where it was. Nothing personal is kept in the browser.
 */
import { get, set } from "idb-keyval";

export interface Device {
  journey: string;
  keys: CryptoKeyPair;
  /** The public key as it stands in every proof. */
  jwk: { kty: string; crv: string; x: string; y: string };
  secret: string | null;
  token: string | null;
}

const LAST = "last-journey";

/** The device known for a journey, or null. */
export async function knownDevice(journey: string): Promise<Device | null> {
  try {
    return (await get<Device>(`journey-${journey}`)) ?? null;
  } catch {
    return null;
  }
}

/** A new key for a journey. */
export async function newDevice(journey: string, secret: string | null): Promise<Device> {
  const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", keys.publicKey);
  return { journey, keys, jwk: { kty: kty!, crv: crv!, x: x!, y: y! }, secret, token: null };
}

/** False where the browser keeps nothing more (no room): the journey then lasts as long as this page. */
export async function keepDevice(device: Device): Promise<boolean> {
  try {
    await set(`journey-${device.journey}`, device);
    await set(LAST, device.journey);
    return true;
  } catch {
    return false;
  }
}

/** The journey this browser worked on last: where to go on after another site sent the person back. */
export async function lastJourney(): Promise<string | null> {
  try {
    return (await get<string>(LAST)) ?? null;
  } catch {
    return null;
  }
}

/** Whether the browser can make such keys, and keep them: the way leads over other sites and back, and a key that was
 * lost on it would be another phone. */
export async function canProve(): Promise<boolean> {
  try {
    if (typeof crypto.subtle === "undefined" || typeof indexedDB === "undefined") return false;
    await set("kept", true);
    return (await get<boolean>("kept")) === true;
  } catch {
    return false;
  }
}
