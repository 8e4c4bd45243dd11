/** Where the page is, in the address's hash: names and ids only, never a value somebody typed. */
import { shallowRef } from "vue";

export interface Where {
  path: readonly string[];
  query: Readonly<Record<string, string>>;
}

function read(): Where {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const safe = (text: string) => /^[A-Za-z0-9_-]{1,64}$/.test(text);
  return {
    path: path.split("/").filter(safe),
    query: Object.fromEntries([...new URLSearchParams(query)].filter(([, value]) => safe(value))),
  };
}

export const where = shallowRef<Where>(read());
addEventListener("hashchange", () => (where.value = read()));

export function address(path: readonly string[], query: Record<string, string | undefined> = {}): string {
  const named = Object.entries(query).filter((entry): entry is [string, string] => !!entry[1]);
  const asked = new URLSearchParams(named).toString();
  return `#/${path.join("/")}${asked ? `?${asked}` : ""}`;
}

export function go(path: readonly string[], query: Record<string, string | undefined> = {}): void {
  location.hash = address(path, query);
}
