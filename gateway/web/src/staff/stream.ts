/** The staff's event stream: tells when to look again, never what is so. One connection for the page. */
import { onBeforeUnmount, onMounted, ref, watch } from "vue";
import { recall, refusalOf, who } from "../api/signed_in";

/** Whether news reaches us. */
export const heard = ref<"connecting" | "open" | "lost">("connecting");

const listeners = new Set<() => void>();
let source: EventSource | null = null;

function news(): void {
  for (const listener of listeners) listener();
}

export function connect(): void {
  source?.close();
  heard.value = "connecting";
  source = new EventSource("/v1/staff/stream");
  source.onopen = () => (heard.value = "open");
  source.addEventListener("look", news);
  source.addEventListener("fact", news);
  source.addEventListener("end", connect);
  source.onerror = () => {
    if (source?.readyState === EventSource.CONNECTING) {
      heard.value = "connecting";
      return;
    }
    disconnect();
    heard.value = "lost";
    // A stream can't say why it was refused: perhaps the session has run out.
    void recall().catch(refusalOf);
  };
}

function disconnect(): void {
  source?.close();
  source = null;
}

/** Calls `look` on news, at once and then at most every `milliseconds`, while the page can be seen. Once more after
 * the last news: those who count hear of a fact when the stream does, and under load they are done a little later. */
export function useNews(look: () => Promise<void>, milliseconds: number): void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let owed = 0;

  async function run(): Promise<void> {
    if (owed === 0 || timer !== null || document.hidden || who.value === null) return;
    owed--;
    timer = setTimeout(() => {
      timer = null;
      void run();
    }, milliseconds);
    await look();
  }
  const hear = () => {
    owed = 2;
    void run();
  };
  const back = () => void run();

  onMounted(() => {
    listeners.add(hear);
    document.addEventListener("visibilitychange", back);
    if (source === null) connect();
  });
  onBeforeUnmount(() => {
    listeners.delete(hear);
    document.removeEventListener("visibilitychange", back);
    if (timer !== null) clearTimeout(timer);
    if (listeners.size === 0) disconnect();
  });
}

watch(who, (now) => {
  if (now === null) disconnect();
  else if (listeners.size > 0) connect();
});
