/** The search as it stands: what was typed stays in memory only, never in an address. */
import { ref, shallowRef } from "vue";
import { ask, useAct } from "../api/signed_in";
import type { JourneyList } from "../api/desk";

export type Kind = "proposal_no" | "policy_no" | "phone";
export const KINDS: Readonly<Record<Kind, string>> = { proposal_no: "投保编号", policy_no: "保单号", phone: "投保人手机" };

export function useSearch() {
  const kind = ref<Kind>("proposal_no");
  const value = ref("");
  const found = shallowRef<JourneyList | null>(null);
  const act = useAct(async () => {
    found.value = null;
    const body = { kind: kind.value, value: value.value.trim() };
    found.value = await ask<JourneyList>("POST", "/v1/staff/journeys/search", { body });
    // A phone number stands on the screen no longer than it takes to find it.
    if (kind.value === "phone" && found.value.journeys.length > 0) value.value = "";
    return found.value;
  });
  return { kind, value, found, act };
}
export type Search = ReturnType<typeof useSearch>;
