import { expect, test } from "vitest";
import { bounded, LIGHT, MAX_ZOOM, PLAIN, panned, parsed, zoomed } from "./view";

test("zooming keeps the point under the pointer where it is", () => {
  const before = { ...PLAIN, zoom: 2, x: 0.1, y: -0.2 };
  const point = { x: 0.3, y: 0.25 };
  const after = zoomed(before, 2, point.x, point.y);
  const onPicture = (view: typeof before) => [(point.x - view.x) / view.zoom, (point.y - view.y) / view.zoom];
  expect(after.zoom).toBe(4);
  expect(onPicture(after)[0]).toBeCloseTo(onPicture(before)[0] ?? Number.NaN);
  expect(onPicture(after)[1]).toBeCloseTo(onPicture(before)[1] ?? Number.NaN);
});

test("zooming out to the whole picture brings it back to the middle", () => {
  expect(zoomed({ ...PLAIN, zoom: 4, x: 1.5, y: -1.5 }, 0.01)).toEqual(PLAIN);
});

test("the picture cannot be pushed out of the viewer", () => {
  expect(panned(PLAIN, 0.5, 0.5)).toEqual(PLAIN);
  expect(panned({ ...PLAIN, zoom: 3 }, 9, -9)).toMatchObject({ x: 1, y: -1 });
});

test("every value has limits", () => {
  const far = bounded({ zoom: 99, x: 0, y: 0, brightness: 99, contrast: -1 });
  expect(far).toMatchObject({ zoom: MAX_ZOOM, brightness: LIGHT.max, contrast: LIGHT.min });
});

test("a stored view comes back, and an unusable one is the plain view", () => {
  const view = { zoom: 2, x: 0.25, y: -0.5, brightness: 1.3, contrast: 0.7 };
  expect(parsed(JSON.stringify(view))).toEqual(view);
  expect(parsed(null)).toEqual(PLAIN);
  expect(parsed("{")).toEqual(PLAIN);
  expect(parsed("null")).toEqual(PLAIN);
  expect(parsed('{"zoom": "4", "brightness": null, "contrast": 2}')).toEqual({ ...PLAIN, contrast: 2 });
});
