/** The bold and plain runs of a paragraph as served: our own escaped markup, read without a parser of markup. */
export interface Run {
  text: string;
  bold: boolean;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };

export function runsOf(html: string): Run[] {
  const inner = html
    .replace(/^<(?:p|h\d)[^>]*>/, "")
    .replace(/<\/(?:p|h\d)>$/, "")
    .replace(/<span class="number">[^<]*<\/span> ?/, "");
  return inner
    .split(/(<strong>[^<]*<\/strong>)/)
    .filter((part) => part !== "")
    .map((part) => ({
      bold: part.startsWith("<strong>"),
      text: part.replace(/<\/?strong>/g, "").replace(/&(amp|lt|gt|quot|#x27);/g, (_, name: string) => ENTITIES[name]!),
    }));
}
