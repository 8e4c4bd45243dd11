/** Boxes to write in: strokes in box units with the time of every point, as the server keeps them; nothing is drawn
 * that was not written. */
import SignaturePad, { type PointGroup } from "signature_pad";
import type { Handwriting } from "./types";

type Box = Handwriting["boxes"][number];
type Stroke = Box["strokes"][number];

const INK = "#101828";

/** The time of every point counts from the first one on this page; a saved draft comes before it. */
let began: number | null = null;
let before = 0;

export class WritingBox {
  private pad: SignaturePad;
  /** The pad's strokes are in CSS pixels of a box of this size. */
  private width = 1;
  private height = 1;
  /** A saved draft of a box that has no size on the page yet. */
  private waiting: Box | null = null;

  /** A finger is down. The pad is left alone meanwhile: emptied under a stroke, it would take no other ever again. */
  private writing = false;
  private misfit = false;

  constructor(
    private canvas: HTMLCanvasElement,
    private changed: () => void,
  ) {
    this.pad = new SignaturePad(canvas, { penColor: INK, minWidth: 1.6, maxWidth: 4.2, throttle: 0, minDistance: 0 });
    this.pad.addEventListener("beginStroke", () => (this.writing = true));
    this.pad.addEventListener("endStroke", () => {
      this.writing = false;
      if (this.misfit) this.fit();
      this.changed();
    });
    this.fit();
  }

  /** To the canvas's size on the page now; what was written is drawn again, larger or smaller. */
  fit(): void {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    this.misfit = this.writing;
    if (this.misfit) return;
    const strokes = this.pad.toData();
    const [x, y] = [box.width / this.width, box.height / this.height];
    const ratio = Math.max(1, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    this.canvas.getContext("2d")!.scale(ratio, ratio);
    if (this.width > 1) {
      for (const stroke of strokes) for (const point of stroke.points) Object.assign(point, { x: point.x * x, y: point.y * y });
    }
    [this.width, this.height] = [box.width, box.height];
    const width = Math.min(box.width, box.height);
    Object.assign(this.pad, { minWidth: width / 110, maxWidth: width / 42 });
    this.pad.clear();
    this.pad.fromData(strokes, { clear: true });
    if (this.waiting) this.restore(this.waiting);
  }

  get strokes(): number {
    return this.waiting?.strokes.length ?? this.pad.toData().length;
  }

  undo(): void {
    this.lift();
    this.pad.fromData(this.pad.toData().slice(0, -1), { clear: true });
    this.changed();
  }

  clear(): void {
    this.lift();
    this.pad.clear();
    this.changed();
  }

  restore(box: Box): void {
    for (const point of box.strokes.flat()) before = Math.max(before, point.t + 1);
    this.waiting = this.width > 1 ? null : box;
    if (this.waiting) return;
    const groups: PointGroup[] = box.strokes.map((stroke) => ({
      ...this.look(),
      points: stroke.map((point) => ({
        x: (point.x / box.width) * this.width,
        y: (point.y / box.height) * this.height,
        pressure: point.pressure ?? 0.5,
        // Before everything written from now on.
        time: point.t - 1e9,
      })),
    }));
    this.pad.fromData(groups, { clear: true });
  }

  read(): Box {
    if (this.waiting) return this.waiting;
    const strokes: Stroke[] = this.pad.toData().map((group) =>
      group.points.map((point) => ({
        x: round(point.x),
        y: round(point.y),
        t: time(point.time),
        pressure: Math.min(1, Math.max(0, round(point.pressure || 0.5))),
      })),
    );
    return { width: round(this.width), height: round(this.height), strokes };
  }

  stop(): void {
    this.pad.off();
  }

  /** Ends a stroke as if the finger had been lifted. */
  private lift(): void {
    if (!this.writing) return;
    this.pad.off();
    this.pad.on();
    this.writing = false;
  }

  private look(): Omit<PointGroup, "points"> {
    const { penColor, dotSize, minWidth, maxWidth, velocityFilterWeight, compositeOperation } = this.pad;
    return { penColor, dotSize, minWidth, maxWidth, velocityFilterWeight, compositeOperation };
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function time(at: number): number {
  if (at < 0) return at + 1e9;
  began ??= at;
  return Math.max(0, Math.round(at - began)) + before;
}
