/** Large text, as the customer chose it. The choice is kept in the browser: it says nothing about a person. */
import { ref } from "vue";
import { journey } from "./journey";

const KEY = "toubao-text";

export const large = ref(false);

export function setLarge(on: boolean): void {
  large.value = on;
  document.documentElement.dataset["text"] = on ? "large" : "standard";
  try {
    localStorage.setItem(KEY, on ? "large" : "standard");
  } catch {
    // A browser that keeps nothing: the choice lasts as long as the page.
  }
}

/** Tells the server. Should it not hear of it now, the text is large all the same; only the longer limit is missing. */
export async function chooseMode(mode: "elder" | "standard"): Promise<void> {
  await journey.act("choose-mode", { mode }).catch(() => undefined);
}

export function restoreSize(): void {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // As above.
  }
  setLarge(kept === "large");
}
