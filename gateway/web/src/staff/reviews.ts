/** Signatures that wait for people: one queue for the menu's number and for the page, and what is said about them. */
import { computed, onBeforeUnmount, onMounted, ref } from "vue";
import { ask, useAsked, who } from "../api/signed_in";
import type { Finding, ReviewQueue } from "../api/desk";
import { may } from "./words";

const EVERY_MS = 10_000;

export const FINDINGS: Readonly<Record<Finding, string>> = {
  legible: "能认出是这个名字",
  handwriting_unclear: "看不清，请客户重写",
  handwriting_another_name: "写的是别的名字",
};

/** Of the ink, before anything is read. */
export const CHECKS: Readonly<Record<string, string>> = {
  ink_empty: "没有写字",
  ink_wrong_boxes: "字数与姓名不符",
  ink_malformed: "笔迹数据不完整",
  ink_dot: "是一个点",
  ink_too_small: "字太小",
  ink_line: "是一条线",
  ink_too_few_strokes: "笔画太少",
  ink_too_fast: "写得太快",
  ink_seen_before: "这个笔迹以前用过",
};

export interface MeasureWords {
  name: string;
  /** The limit is the least that is usual, else the most. */
  least: boolean;
  flagged: string;
}
export const MEASURES: Readonly<Record<string, MeasureWords>> = {
  pen_even_timing: { name: "快慢和停顿的变化", least: true, flagged: "过于均匀" },
  pen_speed: { name: "最快的速度，每秒几个格高", least: false, flagged: "过快" },
  pen_jump: { name: "跳过多远，几个格高", least: false, flagged: "有跳跃" },
  pen_traced: { name: "与旁边字样重合的比例", least: false, flagged: "像照着描" },
};

export function mayReview(): boolean {
  return may("service", "legal");
}

export function useReviews() {
  const queue = useAsked(() => (mayReview() ? ask<ReviewQueue>("GET", "/v1/staff/reviews") : Promise.resolve<ReviewQueue>({ reviews: [] })));
  /** Those the person at the page can still decide. */
  const open = computed(() => queue.data.value?.reviews.filter((one) => !one.mine) ?? []);
  /** What became of the last decision, for the page one comes back to. */
  const told = ref("");

  let timer: ReturnType<typeof setInterval> | undefined;
  onMounted(() => {
    timer = setInterval(() => {
      if (!document.hidden && who.value !== null && !queue.busy.value) void queue.again();
    }, EVERY_MS);
  });
  onBeforeUnmount(() => clearInterval(timer));
  return { queue, open, told };
}
export type Reviews = ReturnType<typeof useReviews>;
