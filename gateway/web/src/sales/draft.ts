/** What the salesperson has typed, as typed, and the body made of it. Pure: the server decides what is right. */
import type { Catalogue, Choice, Cover, FieldRule, IdType, PartyRule, ProductOffered } from "../api/desk";
import type { FieldFault } from "../api/problem";
import { fenOf, round } from "../look/amounts";
import { end, isDay, moment } from "./calendar";

export interface PartyDraft {
  name: string;
  id_type: string;
  id_number: string;
  phone: string;
  address: string;
}
export interface CoverDraft {
  chosen: boolean;
  sum: string;
  premium: string;
}
export interface PartDraft {
  covers: Record<string, CoverDraft>;
  taxes: Record<string, string>;
  /** How cover begins; chosen by the salesperson where the product allows both. */
  start: "" | "midnight" | "immediate";
  day: string;
  time: string;
  months: string;
  fields: Record<string, string>;
}
export interface Draft {
  reference: string;
  products: string[];
  policyholder: PartyDraft;
  /** Said by the salesperson, never assumed. */
  insured_is: "" | "policyholder" | "another";
  insured: PartyDraft;
  subject: Record<string, string>;
  parts: Record<string, PartDraft>;
}

function emptyParty(): PartyDraft {
  return { name: "", id_type: "", id_number: "", phone: "", address: "" };
}

export function emptyDraft(): Draft {
  return {
    reference: "",
    products: [],
    policyholder: emptyParty(),
    insured_is: "",
    insured: emptyParty(),
    subject: {},
    parts: {},
  };
}

export function emptyPart(product: ProductOffered): PartDraft {
  const { starts, min_months, max_months } = product.period;
  return {
    covers: Object.fromEntries(
      product.covers.map((cover) => [cover.code, { chosen: cover.required, sum: "", premium: "" }]),
    ),
    taxes: Object.fromEntries(product.taxes.map((tax) => [tax.code, ""])),
    start: starts.length === 1 ? starts[0]! : "",
    day: "",
    time: "",
    months: min_months === max_months ? String(max_months) : "",
    fields: Object.fromEntries(product.fields.map((field) => [field.code, ""])),
  };
}

/** Optional products come last. */
export function chosenOf(catalogue: Catalogue, draft: Draft): ProductOffered[] {
  const chosen = catalogue.products.filter((product) => draft.products.includes(product.product));
  return chosen.sort((a, b) => Number(a.optional) - Number(b.optional));
}

function meet<T>(lists: T[][], same: (a: T, b: T) => boolean): T[] {
  const [first = [], ...rest] = lists;
  return first.filter((one) => rest.every((list) => list.some((other) => same(one, other))));
}

/** The fields of the shared subject: each once, with the choices all chosen products allow. */
export function subjectFields(products: ProductOffered[]): FieldRule[] {
  const found = new Map<string, FieldRule[]>();
  for (const product of products) {
    for (const field of product.subject.fields) found.set(field.code, [...(found.get(field.code) ?? []), field]);
  }
  return [...found.values()].map((rules) => ({
    ...rules[0]!,
    required: rules.some((rule) => rule.required),
    choices: meet<Choice>(rules.map((rule) => rule.choices), (a, b) => a.code === b.code),
  }));
}

/** What all these products take of a person; undefined where none names one. */
export function partyRule(rules: (PartyRule | null | undefined)[]): PartyRule | undefined {
  const given = rules.filter((rule): rule is PartyRule => rule != null);
  if (given.length === 0) return undefined;
  return {
    id_types: meet<IdType>(given.map((rule) => rule.id_types), (a, b) => a === b),
    min_age: Math.max(...given.map((rule) => rule.min_age)),
    max_age: Math.min(...given.map((rule) => rule.max_age)),
  };
}

export const namesInsured = (products: ProductOffered[]) => products.some((p) => p.parties.insured.named);

/** Whether a product's own field is asked for, with the covers chosen now. */
export function asked(field: FieldRule, part: PartDraft): boolean {
  return field.required_with.length === 0 || field.required_with.some((cover) => part.covers[cover]?.chosen);
}

export function needed(field: FieldRule, part: PartDraft): boolean {
  return field.required || field.required_with.some((cover) => part.covers[cover]?.chosen);
}

/** The sum of what can be read; null where nothing can. */
export function premiumOf(product: ProductOffered, part: PartDraft): number | null {
  const read = product.covers
    .filter((cover) => part.covers[cover.code]?.chosen && cover.premium === "priced")
    .map((cover) => fenOf(part.covers[cover.code]!.premium))
    .filter((fen): fen is number => fen !== null);
  return read.length === 0 ? null : read.reduce((a, b) => a + b, 0);
}

export function periodOf(part: PartDraft): { from: string; to: string | null } | null {
  const time = part.start === "immediate" ? part.time : part.start === "midnight" ? "00:00" : "";
  if (!isDay(part.day) || !/^\d{2}:\d{2}$/.test(time)) return null;
  const months = Number(part.months);
  return { from: moment(part.day, time), to: months > 0 ? end(part.day, time, months) : null };
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export interface Body {
  body: Record<string, Json>;
  /** Which place of the form a JSON pointer means. */
  places: Map<string, string>;
  /** Places whose text could not be read as the number it should be. */
  unread: Map<string, string>;
}

const NO_MONEY = "请写成以元为单位的金额，最多两位小数，例如 665 或 665.50。";
const NO_NUMBER = "请写成整数。";

/** What is sent. An empty field is left out; a number that can't be read goes as it stands, for the server to refuse. */
export function bodyOf(catalogue: Catalogue, draft: Draft): Body {
  const places = new Map<string, string>();
  const unread = new Map<string, string>();
  const at = (pointer: string, place: string) => {
    places.set(pointer, place);
    return place;
  };

  function money(typed: string, place: string): Json | undefined {
    if (typed.trim() === "") return undefined;
    const fen = fenOf(typed);
    if (fen === null) unread.set(place, NO_MONEY);
    return fen ?? typed.trim();
  }

  function value(rule: FieldRule, typed: string, place: string): Json | undefined {
    const text = typed.trim();
    if (text === "") return undefined;
    switch (rule.type) {
      case "fen":
        return money(text, place);
      case "integer":
        if (/^-?\d{1,13}$/.test(text)) return Number(text);
        unread.set(place, NO_NUMBER);
        return text;
      case "boolean":
        return text === "true";
      default:
        return text;
    }
  }

  function fields(rules: FieldRule[], typed: Record<string, string>, pointer: string, place: string) {
    const found: Record<string, Json> = {};
    for (const rule of rules) {
      const here = at(`${pointer}/${rule.code}`, `${place}.${rule.code}`);
      const read = value(rule, typed[rule.code] ?? "", here);
      if (read !== undefined) found[rule.code] = read;
    }
    return found;
  }

  function party(typed: PartyDraft, rule: PartyRule | undefined, root: string) {
    const idType = rule?.id_types.length === 1 ? rule.id_types[0]! : typed.id_type;
    const found: Record<string, Json> = {};
    for (const [key, text] of Object.entries({ ...typed, id_type: idType })) {
      at(`/${root}/${key}`, `${root}.${key}`);
      if (text.trim() !== "") found[key] = text.trim();
    }
    return found;
  }

  function cover(rule: Cover, typed: CoverDraft, pointer: string, place: string) {
    at(`${pointer}/cover`, place);
    const sum = at(`${pointer}/sum_fen`, `${place}.sum`);
    const premium = at(`${pointer}/premium_fen`, `${place}.premium`);
    const found: Record<string, Json> = { cover: rule.code };
    const amounts: [string, Json | undefined][] = [
      ["sum_fen", sumOf(rule, typed, sum)],
      ["premium_fen", rule.premium === "included" ? 0 : money(typed.premium, premium)],
    ];
    for (const [key, amount] of amounts) if (amount !== undefined) found[key] = amount;
    return found;
  }

  function sumOf(rule: Cover, typed: CoverDraft, place: string): Json | undefined {
    switch (rule.sum.rule) {
      case "fixed":
        return rule.sum.fen;
      case "none":
        return 0;
      case "choice":
        return typed.sum === "" ? undefined : Number(typed.sum);
      case "range":
        return money(typed.sum, place);
    }
  }

  const products = chosenOf(catalogue, draft);
  const holder = partyRule(products.map((p) => p.parties.policyholder));
  const insured = partyRule(products.map((p) => p.parties.insured.party));
  const body: Record<string, Json> = { policyholder: party(draft.policyholder, holder, "policyholder") };
  if (draft.reference.trim() !== "") body["channel_reference"] = draft.reference.trim();
  at("/channel_reference", "reference");
  at("/products", "products");
  at("/subject", "subject");
  at("/insured", "insured");
  if (namesInsured(products)) {
    if (draft.insured_is === "another") body["insured"] = party(draft.insured, insured, "insured");
    if (draft.insured_is === "policyholder") body["insured"] = { ...(body["policyholder"] as Record<string, Json>) };
    if (draft.insured_is === "policyholder") {
      for (const key of Object.keys(draft.insured)) at(`/insured/${key}`, `policyholder.${key}`);
    }
  }
  body["subject"] = fields(subjectFields(products), draft.subject, "/subject", "subject");
  body["products"] = products.map((product, i) => {
    const [pointer, place] = [`/products/${i}`, product.product];
    const part = draft.parts[product.product] ?? emptyPart(product);
    at(pointer, place);
    at(`${pointer}/product`, "products");
    at(`${pointer}/covers`, `${place}.covers`);
    at(`${pointer}/premium_fen`, `${place}.premium`);
    at(`${pointer}/taxes`, `${place}.taxes`);
    at(`${pointer}/period`, `${place}.period`);
    at(`${pointer}/period/from`, `${place}.period`);
    at(`${pointer}/period/to`, `${place}.period`);
    const made: Record<string, Json> = {
      product: product.product,
      covers: product.covers
        .filter((rule) => part.covers[rule.code]?.chosen)
        .map((rule, j) => cover(rule, part.covers[rule.code]!, `${pointer}/covers/${j}`, `${place}.covers.${rule.code}`)),
      taxes: product.taxes
        .filter((tax) => tax.required || part.taxes[tax.code]?.trim())
        .map((tax, j) => {
          at(`${pointer}/taxes/${j}/tax`, `${place}.taxes.${tax.code}`);
          const here = at(`${pointer}/taxes/${j}/fen`, `${place}.taxes.${tax.code}`);
          const fen = money(part.taxes[tax.code] ?? "", here);
          return fen === undefined ? { tax: tax.code } : { tax: tax.code, fen };
        }),
      fields: fields(
        product.fields.filter((field) => asked(field, part)),
        part.fields,
        `${pointer}/fields`,
        `${place}.fields`,
      ),
    };
    const premium = premiumOf(product, part);
    if (premium !== null) made["premium_fen"] = premium;
    const period = periodOf(part);
    made["period"] = period === null ? {} : { from: period.from, ...(period.to === null ? {} : { to: period.to }) };
    return made;
  });
  return { body, places, unread };
}

export interface PlacedFault {
  place: string;
  detail: string;
}

/** What the form reckons itself (a total from the covers, an end from the start), and what says only that something
 * inside is wrong, mends with the fault it comes from. */
function followsFrom({ pointer, code }: FieldFault, errors: readonly FieldFault[]): boolean {
  const part = /^(\/products\/\d+)\/(premium_fen|period\/to)$/.exec(pointer);
  if (part !== null && code === "missing") {
    const cause = `${part[1]}/${part[2] === "premium_fen" ? "covers" : "period/from"}`;
    return errors.some((other) => other.pointer.startsWith(cause));
  }
  return code === "invalid" && errors.some((other) => other.pointer.startsWith(`${pointer}/`));
}

const missesTwice = (found: PlacedFault[], place: string) =>
  place.startsWith("policyholder.") && found.some((fault) => fault.place === place);

/** The server's faults at their places in the form; a fault of something inside stands at the nearest place around. */
export function placed(errors: readonly FieldFault[], { places, unread }: Body): PlacedFault[] {
  const found: PlacedFault[] = [];
  for (const error of errors) {
    if (followsFrom(error, errors)) continue;
    let pointer = error.pointer;
    while (pointer !== "" && !places.has(pointer)) pointer = pointer.slice(0, pointer.lastIndexOf("/"));
    const place = places.get(pointer) ?? "";
    // The same person twice: what is wrong with the policyholder is said once.
    if (pointer.startsWith("/insured/") && missesTwice(found, place)) continue;
    const detail = unread.get(place) ?? error.detail;
    if (!found.some((other) => other.place === place && other.detail === detail)) found.push({ place, detail });
  }
  return found;
}

/** What looks wrong with a value already, in the product's own words; only a hint. */
export function hintAt(rule: FieldRule, typed: string): string | null {
  const text = typed.trim();
  if (text === "") return null;
  if (rule.type === "text") {
    if (!matches(rule.pattern, text)) return "好像不对，请核对。";
    if (text.length < (rule.min ?? 1) || text.length > (rule.max ?? 200)) return "长度好像不对，请核对。";
  } else if (rule.type === "integer") {
    if (!/^-?\d{1,13}$/.test(text)) return NO_NUMBER;
    return outside(rule, Number(text)) ? `超出范围：${range(rule, String)}` : null;
  } else if (rule.type === "fen") {
    const fen = fenOf(text);
    if (fen === null) return NO_MONEY;
    return outside(rule, fen) ? `超出范围：${range(rule, round)}` : null;
  }
  return null;
}

/** Letters in upper case where only so they fit what the product asks for. */
export function tidied(rule: FieldRule, typed: string): string {
  const text = typed.trim();
  if (rule.type !== "text" || matches(rule.pattern, text)) return text;
  return matches(rule.pattern, text.toUpperCase()) ? text.toUpperCase() : text;
}

export function moneyHint(typed: string): string | null {
  return typed.trim() === "" || fenOf(typed) !== null ? null : NO_MONEY;
}

function matches(pattern: string | null | undefined, text: string): boolean {
  if (pattern == null) return true;
  try {
    return new RegExp(`^(?:${pattern})$`, "u").test(text);
  } catch {
    return true; // a pattern of Python's that JavaScript can't read: the server says
  }
}

const outside = (rule: FieldRule, number: number) =>
  (rule.min != null && number < rule.min) || (rule.max != null && number > rule.max);

function range(rule: FieldRule, say: (number: number) => string): string {
  const unit = rule.unit ?? "";
  if (rule.min != null && rule.max != null) return `${say(rule.min)} 到 ${say(rule.max)}${unit}。`;
  return rule.min != null ? `至少 ${say(rule.min)}${unit}。` : `至多 ${say(rule.max!)}${unit}。`;
}
