/** The way in nine stages, as a person would tell it; each step of the server belongs to one. */
import type { JourneyView } from "./types";

export type Step = JourneyView["place"]["step"];

export const STAGES = [
  "开始", "核验身份", "核对内容", "回答问题", "阅读条款", "核对投保单", "亲笔签名", "付款", "领取保单",
] as const;

const STAGE_OF: Record<Step, number | null> = {
  recording: 0,
  consents: 0,
  identity: 1,
  terms: 2,
  products: 2,
  needs: 3,
  questions: 3,
  documents: 4,
  points: 4,
  forms: 5,
  signature: 6,
  review: 6,
  payment: 7,
  policies: 8,
  survey: 8,
  app: 8,
  ended: null,
  wait: null,
};

/** From 0; null where the step is no part of the way. */
export function stageOf(step: Step): number | null {
  return STAGE_OF[step];
}
