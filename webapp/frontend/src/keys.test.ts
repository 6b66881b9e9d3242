import { expect, test } from "vitest";
import { commandFor } from "./keys";

const key = (key: string, more: Partial<KeyboardEvent> = {}) => ({
  key,
  code: "",
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  shiftKey: false,
  ...more,
});
const LABELS = ["ok", "defect"];

test("a digit decides for the label at its place, on every keyboard", () => {
  expect(commandFor(key("1", { code: "Digit1" }), LABELS)).toEqual({ kind: "decide", label: "ok" });
  expect(commandFor(key("2", { code: "Numpad2" }), LABELS)).toEqual({ kind: "decide", label: "defect" });
  expect(commandFor(key("é", { code: "Digit2" }), LABELS)).toEqual({ kind: "decide", label: "defect" });
});

test("a digit without a label does nothing", () => {
  expect(commandFor(key("3", { code: "Digit3" }), LABELS)).toBeNull();
});

test("a combination with Ctrl, Cmd or Alt is the browser's, but for Ctrl+Z", () => {
  expect(commandFor(key("1", { code: "Digit1", ctrlKey: true }), LABELS)).toBeNull();
  expect(commandFor(key("+", { metaKey: true }), LABELS)).toBeNull();
  expect(commandFor(key("s", { altKey: true }), LABELS)).toBeNull();
  expect(commandFor(key("z", { ctrlKey: true }), LABELS)).toEqual({ kind: "undo" });
});

test("letters work with the shift lock on", () => {
  expect(commandFor(key("U"), LABELS)).toEqual({ kind: "undo" });
  expect(commandFor(key("S"), LABELS)).toEqual({ kind: "skip" });
});

test("Shift turns a step of brightness or contrast around", () => {
  expect(commandFor(key("b"), LABELS)).toEqual({ kind: "brightness", by: 0.1 });
  expect(commandFor(key("C", { shiftKey: true }), LABELS)).toEqual({ kind: "contrast", by: -0.1 });
});
