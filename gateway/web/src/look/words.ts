/** Money, moments and durations as people read them. Money is integer fen; times are UTC and shown in Beijing time. */

const YUAN = new Intl.NumberFormat("zh-CN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** 123456 → 1,234.56 */
export function yuan(fen: number): string {
  return YUAN.format(fen / 100);
}

function parts(instant: string, options: Intl.DateTimeFormatOptions): Record<string, string> {
  const found: Record<string, string> = {};
  for (const part of new Intl.DateTimeFormat("zh-CN", {
    timeZone: "Asia/Shanghai",
    hourCycle: "h23",
    ...options,
  }).formatToParts(new Date(instant))) {
    found[part.type] = part.value;
  }
  return found;
}

const DAY: Intl.DateTimeFormatOptions = { year: "numeric", month: "numeric", day: "numeric" };
const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** 2026年11月25日 */
export function day(instant: string): string {
  const p = parts(instant, DAY);
  return `${p["year"]}年${p["month"]}月${p["day"]}日`;
}

/** 2026年11月25日 14:05 */
export function moment(instant: string): string {
  const p = parts(instant, { ...DAY, hour: "2-digit", minute: "2-digit" });
  return `${p["year"]}年${p["month"]}月${p["day"]}日 ${p["hour"]}:${p["minute"]}`;
}

/** 14:05:09 */
export function clock(instant: string): string {
  const p = parts(instant, CLOCK);
  return `${p["hour"]}:${p["minute"]}:${p["second"]}`;
}

/** 11-25 14:05:09, for dense tables. */
export function stamp(instant: string): string {
  const p = parts(instant, { month: "2-digit", day: "2-digit", ...CLOCK });
  return `${p["month"]}-${p["day"]} ${p["hour"]}:${p["minute"]}:${p["second"]}`;
}

/** 75_000 → 1 分 15 秒 */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} 毫秒`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} 秒`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} 分 ${seconds % 60} 秒`;
  return `${Math.floor(minutes / 60)} 小时 ${minutes % 60} 分`;
}

/** 84512 → 83 KB */
export function size(bytes: number): string {
  return bytes < 1024 * 1024 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
