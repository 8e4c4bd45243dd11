/** The calendar of Asia/Shanghai, which has had no daylight saving since 1991: days as yyyy-mm-dd, times at +08:00. */

/** Today in China, whatever the phone's own zone. */
export function today(): string {
  return new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 10);
}

export function addDays(day: string, days: number): string {
  const moment = new Date(`${day}T00:00:00Z`);
  moment.setUTCDate(moment.getUTCDate() + days);
  return moment.toISOString().slice(0, 10);
}

export function isDay(day: string): boolean {
  const moment = new Date(`${day}T00:00:00Z`);
  return /^\d{4}-\d{2}-\d{2}$/.test(day) && !Number.isNaN(moment.getTime()) && moment.toISOString().startsWith(day);
}

/** The end of whole months from a start; where the last month lacks the day, midnight after its last day. */
export function end(day: string, time: string, months: number): string {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  const last = new Date(Date.UTC(year, month - 1 + months + 1, 0));
  if (date <= last.getUTCDate()) {
    last.setUTCDate(date);
    return moment(last.toISOString().slice(0, 10), time);
  }
  return moment(addDays(last.toISOString().slice(0, 10), 1), "00:00");
}

export function moment(day: string, time: string): string {
  return `${day}T${time}:00+08:00`;
}

/** 2026-12-01T00:00:00+08:00 → 2026年12月1日 0时 */
export function spoken(instant: string): string {
  const [year, month, date] = instant.slice(0, 10).split("-").map(Number);
  const [hour, minute] = instant.slice(11, 16).split(":").map(Number);
  return `${year}年${month}月${date}日 ${hour}时${minute === 0 ? "" : `${minute}分`}`;
}
