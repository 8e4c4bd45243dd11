/** What the salesperson's and the staff page read and send, named as they use it; the types are the API's own. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type SignedIn = Schemas["SignedIn"];

export type Catalogue = Schemas["Catalogue"];
export type ProductOffered = Schemas["ProductOffered"];
export type FieldRule = Schemas["FieldRule"];
export type Choice = Schemas["Choice"];
export type Cover = Schemas["Cover"];
export type PartyRule = Schemas["PartyRule"];
export type IdType = PartyRule["id_types"][number];
export type ProposalAccepted = Schemas["ProposalAccepted"];
export type ProposalState = Schemas["ProposalState"];
export type ProposalStates = Schemas["ProposalStates"];
export type State = ProposalState["state"];
export type LinkShown = Schemas["LinkShown"];
export type WithdrawalReason = Schemas["Withdrawal"]["reason"];

export type JourneyRow = Schemas["JourneyRow"];
export type Step = JourneyRow["step"];
export type JourneyList = Schemas["JourneyList"];
export type JourneyFile = Schemas["JourneyFile"];
export type Party = Schemas["PersonShown"];
export type DocumentServed = Schemas["ServedDocument"];
export type FileKept = Schemas["FileKept"];
export type TimelineEvent = Schemas["TimelineEvent"];
export type ServedText = Schemas["Text"];
export type Unmasked = Schemas["Unmasked"];
export type Unmasking = Schemas["Unmasking"];
export type Unmaskings = Schemas["Unmaskings"];
export type DownloadLink = Schemas["DownloadLink"];
export type PackLink = Schemas["PackLink"];
export type Channels = Schemas["ChannelList"];
export type Live = Schemas["Live"];
export type Score = Schemas["Score"];
export type Scores = Schemas["Scores"];
export type ReferralCounts = Schemas["ReferralCounts"];
export type ReviewQueue = Schemas["ReviewQueue"];
export type ReviewShown = Schemas["ReviewShown"];
export type ReviewDecision = Schemas["ReviewDecision"];
export type Finding = Schemas["Finding"]["finding"];
export type Handwriting = ReviewShown["writing"];
export type InkCheck = ReviewShown["checks"][number];
export type Try = ReviewShown["tries"][number];
export type PenMeasure = Try["pen"][number];
