/** A proposal's state in words, with the tone it is shown in; the words carry it, colour only helps. */
import type { State } from "../api/desk";

export type Tone = "wait" | "go" | "good" | "over";

export const STATES: Readonly<Record<State, { name: string; tone: Tone }>> = {
  open: { name: "待客户确认", tone: "wait" },
  confirmed: { name: "客户已确认", tone: "go" },
  signed: { name: "已签名", tone: "go" },
  ordered: { name: "付款中", tone: "go" },
  paid: { name: "已付款，出单中", tone: "go" },
  issued: { name: "已出单", tone: "good" },
  withdrawn: { name: "已撤回", tone: "over" },
  expired: { name: "已过期", tone: "over" },
};

export const ID_TYPES: Readonly<Record<string, string>> = {
  id_card: "居民身份证",
  permanent_residence: "外国人永久居留身份证",
  passport: "护照",
  travel_permit: "港澳台居民来往通行证",
};
