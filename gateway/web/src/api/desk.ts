/** What the salesperson's and the staff page read and send, by the names they use for it. */
export interface SignedIn {
  door: "sales" | "staff";
  name: string;
  roles: string[];
  channel_id: string | null;
  channel_name: string | null;
  ends_at: string;
  idle_seconds: number;
}

export type FieldType = "text" | "integer" | "fen" | "date" | "choice" | "boolean";
export interface Choice {
  code: string;
  name: string;
}
export interface Comparison {
  other: string;
  rule: "at_most" | "equal";
  offset: number;
}
export interface FieldRule {
  code: string;
  label: string;
  type: FieldType;
  required: boolean;
  required_with: string[];
  pattern: string | null;
  hint: string | null;
  choices: Choice[];
  min: number | null;
  max: number | null;
  past: boolean;
  compare: Comparison | null;
  unit: string | null;
}
export type SumRule =
  | { rule: "fixed"; fen: number }
  | { rule: "choice"; fen: number[] }
  | { rule: "range"; min_fen: number; max_fen: number; step_fen: number; compare: Comparison | null }
  | { rule: "none" };
export interface Cover {
  code: string;
  name: string;
  required: boolean;
  additional: boolean;
  requires_any: string[];
  sum: SumRule;
  unit: "policy" | "seat" | "accident";
  seats: string | null;
  premium: "priced" | "included";
  note: string | null;
}
export interface Tax {
  code: string;
  name: string;
  required: boolean;
  max_fen: number;
}
export type IdType = "id_card" | "permanent_residence" | "passport" | "travel_permit";
export interface PartyRule {
  id_types: IdType[];
  min_age: number;
  max_age: number;
}
export interface ProductOffered {
  product: string;
  name: string;
  marketing_name: string | null;
  summary: string;
  optional: boolean;
  subject: { kind: string; title: string; fields: FieldRule[] };
  parties: { policyholder: PartyRule; insured: { named: boolean; party: PartyRule | null; text: string } };
  covers: Cover[];
  taxes: Tax[];
  premium: { min_fen: number; max_fen: number };
  period: {
    min_months: number;
    max_months: number;
    starts: ("midnight" | "immediate")[];
    latest_start_days: number;
  };
  fields: FieldRule[];
}
export interface Catalogue {
  release: string;
  insurer: { name: string; hotline: string };
  products: ProductOffered[];
}
export interface ProposalAccepted {
  journey_id: string;
  proposal_no: string;
  link: string;
  expires_at: string;
}
export type State = "open" | "confirmed" | "signed" | "ordered" | "paid" | "issued" | "withdrawn" | "expired";
export interface ProposalState {
  journey_id: string;
  proposal_no: string;
  channel_reference: string | null;
  state: State;
  products: string[];
  opened_at: string;
  expires_at: string;
}
export interface ProposalStates {
  proposals: ProposalState[];
}
export interface LinkShown {
  link: string;
  expires_at: string;
}
export type WithdrawalReason = "channel_request" | "customer_request" | "wrong_data";

export type Step =
  | "recording"
  | "consents"
  | "identity"
  | "terms"
  | "reading"
  | "signature"
  | "payment"
  | "issuance"
  | "done"
  | "ended";
export interface JourneyRow {
  journey_id: string;
  proposal_no: string;
  channel_id: string;
  channel_name: string;
  products: { product: string; name: string }[];
  state: State;
  step: Step;
  opened_at: string;
  last_at: string;
  attempts: number;
  refusals: number;
  policy_nos: string[];
}
export interface JourneyList {
  journeys: JourneyRow[];
  next: string | null;
}
export interface Party {
  name: string;
  id_type: string;
  id_number: string;
  phone: string;
  address: string;
}
export interface Labelled {
  label: string;
  text: string;
}
export interface DocumentServed {
  product: string | null;
  document: string;
  title: string;
  kind: string;
  version: string;
  sha256: string;
  opened_at: string | null;
  confirmed_at: string | null;
  dwell_ms: number | null;
  minimum_dwell_ms: number | null;
}
export interface FileKept {
  kind: "form" | "policy";
  product: string;
  name: string;
  number: string;
  size: number;
}
export interface TimelineEvent {
  index: number;
  at: string;
  service: string;
  service_name: string;
  fact: string;
  words: string;
  code: string | null;
  since_ms: number | null;
  attempt: number | null;
}
export interface JourneyFile {
  row: JourneyRow;
  policyholder: Party;
  insured: Party | null;
  subject: Labelled[];
  chain: { count: number; head: string; anchored: boolean };
  documents: DocumentServed[];
  files: FileKept[];
  timeline: TimelineEvent[];
}
export interface Unmasked {
  policyholder: Party;
  insured: Party | null;
  subject: Labelled[];
}
export interface Live {
  at: string;
  steps: { step: Step; name: string; count: number }[];
  refusals: { code: string; title: string; count: number }[];
  policies: {
    policy_no: string;
    product: string;
    name: string;
    issued_at: string;
    premium_fen: number;
    channel_id: string;
  }[];
  hours: { hour: string; opened: number; issued: number; refused: number }[];
}
export interface Channels {
  channels: { channel_id: string; name: string }[];
}
export interface Unmasking {
  at: string;
  staff_id: string;
  journey_id: string;
  scope: "journey" | "policy" | "values" | "file";
  policy_no: string | null;
  reason: string;
}
export interface Unmaskings {
  unmaskings: Unmasking[];
  next: string;
}
export interface DownloadLink {
  url: string;
  expires_at: string;
  file_name: string;
}
export interface PackLink extends DownloadLink {
  complete: boolean;
  size: number;
}
export interface Paragraph {
  id: string;
  kind: string;
  level: number;
  number: number | null;
  exclusion: string | null;
  conspicuous: boolean;
  text: string;
  html: string;
}
export interface ServedText {
  product: string | null;
  document: string;
  version: string;
  sha256: string;
  clause_code: string;
  filing_number: string | null;
  insurer: string;
  characters: number;
  minimum_dwell_seconds: number;
  blocks: Paragraph[];
}
export interface Score {
  group: "all" | "channel" | "product";
  key: string;
  invited: number;
  answered: number;
  skipped: number;
  promoters: number;
  passives: number;
  detractors: number;
  score: number | null;
  standard_error: number | null;
  trend_shown: boolean;
}
export interface Scores {
  scores: Score[];
}
export interface ReferralCounts {
  offered: number;
  click: number;
  install: number;
  register_: number;
  login: number;
}
