/** What one page is about: whether something is under way (and what), and what it was refused with. */
import { type Ref, type ShallowRef, ref, shallowRef, watch } from "vue";

export interface Doing {
  error: ShallowRef<unknown>;
  /** The name of what is under way; empty when nothing is. */
  doing: Ref<string>;
  /** Does it, unless something is under way. Undefined when it failed: the page then shows ``error``. */
  run: <T>(work: () => Promise<T>, name?: string) => Promise<T | undefined>;
}

/** ``about``: what the page shows now. When that changes nothing is under way any more and nothing was refused: the
 * server may show the next thing before the answer about the last one is in. */
export function useDoing(about?: () => unknown): Doing {
  const error = shallowRef<unknown>(null);
  const doing = ref("");
  let turn = 0;
  if (about) {
    watch(about, () => {
      turn += 1;
      doing.value = "";
      error.value = null;
    });
  }
  async function run<T>(work: () => Promise<T>, name = "act"): Promise<T | undefined> {
    if (doing.value) return undefined;
    const mine = (turn += 1);
    error.value = null;
    doing.value = name;
    try {
      return await work();
    } catch (problem) {
      if (mine === turn) error.value = problem;
      return undefined;
    } finally {
      if (mine === turn) doing.value = "";
    }
  }
  return { error, doing, run };
}
