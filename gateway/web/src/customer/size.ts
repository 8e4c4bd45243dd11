/** Large text, as the customer chose it. The choice is kept in the browser: it says nothing about a person. */
import { ref } from "vue";

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

export function restoreSize(): void {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // As above.
  }
  setLarge(kept === "large");
}
