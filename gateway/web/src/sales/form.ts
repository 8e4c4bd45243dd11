/** What every field of the form knows: the faults at its place, and how to say that it was changed. */
import type { InjectionKey, Ref } from "vue";
import type { PlacedFault } from "./draft";

export interface FormPlaces {
  faults: Readonly<Ref<readonly PlacedFault[]>>;
  /** The fault at a place was about what stood there before. */
  changed: (place: string) => void;
}
export const FORM: InjectionKey<FormPlaces> = Symbol("form");

/** A place's control in the document. */
export function idOf(place: string): string {
  return `field-${place.replaceAll(".", "-")}`;
}
