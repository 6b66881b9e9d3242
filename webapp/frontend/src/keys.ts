/** What a key does. Everything on the page can be done by a key; the help lists them. */
export type Command =
  | { kind: "decide"; label: string }
  | { kind: "skip" | "undo" | "help" | "dismiss" | "reset-view" | "reset-light" }
  | { kind: "zoom"; by: number }
  | { kind: "pan"; x: number; y: number }
  | { kind: "brightness" | "contrast"; by: number };

type Key = Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">;

const ZOOM_STEP = 1.25;
const LIGHT_STEP = 0.1;
const PAN_STEP = 0.1;

/** The command for a key, or null where the key is the browser's. `labels` are in the order of the keys 1 to 9. */
export function commandFor(event: Key, labels: readonly string[]): Command | null {
  const key = event.key.toLowerCase();
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) return key === "z" && !event.shiftKey ? { kind: "undo" } : null;
  // By position as well: on a French keyboard the upper row types its digits only with Shift.
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1] ?? /^[1-9]$/.exec(key)?.[0];
  const label = digit && labels[Number(digit) - 1];
  if (label) return { kind: "decide", label };
  const back = event.shiftKey ? -1 : 1;
  switch (key) {
    case "s":
      return { kind: "skip" };
    case "u":
    case "z":
      return { kind: "undo" };
    case "?":
    case "h":
      return { kind: "help" };
    case "escape":
      return { kind: "dismiss" };
    case "+":
    case "=":
      return { kind: "zoom", by: ZOOM_STEP };
    case "-":
    case "_":
      return { kind: "zoom", by: 1 / ZOOM_STEP };
    case "0":
      return { kind: "reset-view" };
    case "arrowleft":
      return { kind: "pan", x: PAN_STEP, y: 0 };
    case "arrowright":
      return { kind: "pan", x: -PAN_STEP, y: 0 };
    case "arrowup":
      return { kind: "pan", x: 0, y: PAN_STEP };
    case "arrowdown":
      return { kind: "pan", x: 0, y: -PAN_STEP };
    case "b":
      return { kind: "brightness", by: back * LIGHT_STEP };
    case "c":
      return { kind: "contrast", by: back * LIGHT_STEP };
    case "r":
      return { kind: "reset-light" };
    default:
      return null;
  }
}
