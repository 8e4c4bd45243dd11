/** Names for what the customer's API answers; the shapes themselves are generated from its description. */
import type { components } from "../api/schema";

type Schemas = components["schemas"];

export type JourneyView = Schemas["JourneyView"];
export type Card = Schemas["Card"];
export type ProductCard = Schemas["ProductCard"];
export type Question = Schemas["Question"];
export type NoticeListed = Schemas["NoticeListed"];
export type NoticeText = Schemas["NoticeText"];
export type Text = Schemas["Text"];
export type DocumentRef = Schemas["DocumentRef"];
export type DocumentProgress = Schemas["DocumentProgress"];
export type ReadingProgress = Schemas["ReadingProgress"];
export type ReadingOpened = Schemas["ReadingOpened"];
export type PointShown = Schemas["PointShown"];
export type FormOffered = Schemas["FormOffered"];
export type Handwriting = Schemas["Handwriting"];
export type Pad = Schemas["Pad"];
export type PolicyList = Schemas["PolicyList"];
export type DownloadLink = Schemas["DownloadLink"];
export type OtpOnItsWay = Schemas["OtpOnItsWay"];
export type FaceRedirect = Schemas["FaceRedirect"];
export type OrderToPay = Schemas["OrderToPay"];
export type Help = Schemas["Help"];
export type SessionToken = Schemas["SessionToken"];
