/** Names of what the staff page shows, and who may do what (the server decides; here only what is offered). */
import { who } from "../api/signed_in";
import type { SignedIn, Step, Unmasking } from "../api/desk";

export const STEPS: Readonly<Record<Step, string>> = {
  recording: "可回溯提示",
  consents: "授权同意",
  identity: "身份核验",
  terms: "确认内容",
  reading: "阅读文件",
  signature: "签名",
  payment: "付款",
  issuance: "出单",
  done: "已完成",
  ended: "已终止",
};

export type Role = SignedIn["roles"][number];
export const ROLES: Readonly<Record<Role, string>> = { service: "客服", audit: "审计", legal: "法务" };
export const SCOPES: Readonly<Record<Unmasking["scope"], string>> = {
  journey: "证据包（整笔投保）",
  policy: "证据包（一张保单）",
  values: "页面上的完整信息",
  file: "PDF 文件",
  review: "人工核对签名",
};

export function may(...roles: Role[]): boolean {
  return roles.some((role) => who.value?.roles.includes(role));
}

/** The signed-in person's roles in words. */
export function rolesSaid(roles: readonly Role[]): string {
  return roles.map((role) => ROLES[role]).join("、");
}
