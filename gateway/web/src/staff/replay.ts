/** Strokes as a film: in the order and at the pace in which they were drawn, only long pauses cut short. */
import type { Handwriting } from "../api/desk";

type Box = Handwriting["boxes"][number];
type Point = Box["strokes"][number][number];

export interface Stroke {
  box: number;
  points: readonly Point[];
  /** Of each point, in milliseconds of the film. */
  times: readonly number[];
  end: number;
}

const LONGEST_PAUSE = 600;
/** Before the first point. */
export const START = -1;

export function filmOf(writing: Handwriting): Stroke[] {
  const drawn = writing.boxes.flatMap(({ strokes }, box) => strokes.filter((points) => points.length > 0).map((points) => ({ box, points })));
  // People go back to a box and write more into it.
  drawn.sort((a, b) => a.points[0]!.t - b.points[0]!.t);
  let now = 0;
  let before: number | null = null;
  return drawn.map(({ box, points }) => {
    // No two strokes end at once, so that one can be shown without the other.
    if (before !== null) now++;
    const times = points.map(({ t }) => {
      now += Math.min(LONGEST_PAUSE, Math.max(0, t - (before ?? t)));
      before = t;
      return now;
    });
    return { box, points, times, end: now };
  });
}

const SIDE = 480;
const INK = "#111";
const LATEST = "#0a5aa8";
const TO_COME = "#e3e8ee";

/** The box as it stood at that time of the film: `strokes` are its own, `latest` is drawn in another colour. */
export function draw(canvas: HTMLCanvasElement, box: Box, strokes: readonly Stroke[], at: number, latest: Stroke | null): void {
  // A shape that no page has is shown all the same, and squeezed into one that can be looked at.
  const high = Math.round(SIDE * Math.min(2, Math.max(0.5, box.height / box.width)));
  [canvas.width, canvas.height] = [SIDE, high];
  const pen = canvas.getContext("2d")!;
  const scale = Math.min(SIDE / box.width, high / box.height);
  pen.scale(scale, scale);
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of strokes) line(pen, box, stroke, Infinity, TO_COME);
  for (const stroke of strokes) line(pen, box, stroke, at, stroke === latest ? LATEST : INK);
}

function line(pen: CanvasRenderingContext2D, box: Box, { points, times }: Stroke, at: number, colour: string): void {
  pen.strokeStyle = colour;
  const pressure = (i: number) => points[Math.min(points.length - 1, Math.max(0, i))]!.pressure;
  for (let i = 0; i < points.length && times[i]! <= at; i++) {
    const to = points[i]!;
    const from = points[Math.max(0, i - 1)]!;
    // About as thick as the form's drawing has it (services/signing/strokes.py).
    pen.lineWidth = 0.05 * box.height * (0.55 + 0.2 * (pressure(i - 2) + pressure(i - 1) + pressure(i) + pressure(i + 1)));
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
  }
}
