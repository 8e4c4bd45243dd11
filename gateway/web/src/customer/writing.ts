/** A writing that is handed in and may be refused: what for, and what has to be written anew. */
import { type ComputedRef, type Ref, computed, ref } from "vue";
import { Problem } from "../api/problem";
import { type Doing, useDoing } from "./doing";

export interface Writing extends Doing {
  /** What the last writing was refused for: just now, or before this page was opened. */
  refusal: ComputedRef<unknown>;
  /** The box the server found fault with, from 0; until it is written anew. */
  faulty: ComputedRef<number | null>;
  /** The same strokes again would be refused as a copy. */
  same: ComputedRef<boolean>;
  /** Something was written since. */
  written: () => void;
  submit: (work: () => Promise<void>) => Promise<void>;
}

/** ``pad``: the boxes that are written in. ``before``: what was refused before this page was opened. */
export function useWriting(pad: Ref<{ to: (box: number) => void } | null>, before: () => Problem | null = () => null): Writing {
  const { error, doing, run } = useDoing();
  const rewritten = ref(false);
  const refusal = computed(() => error.value ?? (rewritten.value ? null : before()));
  const faulty = computed(() => {
    const at = refusal.value instanceof Problem && !rewritten.value ? refusal.value.more["box"] : null;
    return typeof at === "number" ? at - 1 : null;
  });
  const same = computed(
    () => error.value instanceof Problem && /^(ink|handwriting|phrase)_/.test(error.value.code) && !rewritten.value,
  );

  async function submit(work: () => Promise<void>): Promise<void> {
    await run(async () => {
      rewritten.value = false;
      await work();
    });
    if (faulty.value !== null && faulty.value >= 0) pad.value?.to(faulty.value);
  }

  return { error, doing, run, refusal, faulty, same, submit, written: () => (rewritten.value = true) };
}
