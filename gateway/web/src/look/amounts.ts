/** Money as people type it: yuan in, integer fen out, no floating point between. */

/** "1,234.5" → 123450; null where it is no amount in yuan with at most two decimals. */
export function fenOf(typed: string): number | null {
  const plain = typed.replace(/[\s,，¥￥]/g, "").replace(/元$/, "");
  const found = /^(\d{1,11})(?:\.(\d{1,2}))?$/.exec(plain);
  if (found === null) return null;
  return Number(found[1]) * 100 + Number((found[2] ?? "").padEnd(2, "0"));
}

/** 20000000 → 20 万元; 66500 → 665 元 */
export function round(fen: number): string {
  if (fen >= 1_000_000 && fen % 10_000 === 0) return `${fen / 1_000_000} 万元`;
  const jiao = fen % 100;
  const whole = Math.floor(fen / 100).toLocaleString("zh-CN");
  return jiao === 0 ? `${whole} 元` : `${whole}.${String(jiao).padStart(2, "0")} 元`;
}
