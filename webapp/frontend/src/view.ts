/** How the picture is looked at. It stays as it is set from picture to picture and over a reload. */
export interface View {
  /** 1 = the picture fills the viewer. */
  zoom: number;
  /** Shift of the picture's middle, in widths and heights of the viewer. */
  x: number;
  y: number;
  /** 1 = as the camera took it. */
  brightness: number;
  contrast: number;
}

export const PLAIN: View = { zoom: 1, x: 0, y: 0, brightness: 1, contrast: 1 };
export const MAX_ZOOM = 16;
export const LIGHT = { min: 0.3, max: 3 };

const clamp = (value: number, min: number, max: number): number => Math.min(max, Math.max(min, value));
const round = (value: number): number => Math.round(value * 1000) / 1000;

/** A view within its limits: the picture cannot be pushed out of the viewer. */
export function bounded(view: View): View {
  const zoom = clamp(view.zoom, 1, MAX_ZOOM);
  const reach = (zoom - 1) / 2;
  return {
    zoom,
    x: clamp(view.x, -reach, reach) || 0, // never -0
    y: clamp(view.y, -reach, reach) || 0,
    brightness: round(clamp(view.brightness, LIGHT.min, LIGHT.max)),
    contrast: round(clamp(view.contrast, LIGHT.min, LIGHT.max)),
  };
}

/** Zooms so that the point (x, y) of the viewer, measured from its middle in widths and heights, stays where it is. */
export function zoomed(view: View, by: number, x = 0, y = 0): View {
  const zoom = clamp(view.zoom * by, 1, MAX_ZOOM);
  const scale = zoom / view.zoom;
  return bounded({ ...view, zoom, x: x - (x - view.x) * scale, y: y - (y - view.y) * scale });
}

export const panned = (view: View, x: number, y: number): View => bounded({ ...view, x: view.x + x, y: view.y + y });

/** The view that was stored, or the plain one where nothing usable is stored. */
export function parsed(text: string | null): View {
  try {
    const stored: unknown = JSON.parse(text ?? "");
    if (typeof stored !== "object" || stored === null) return PLAIN;
    const view = { ...PLAIN };
    for (const key of Object.keys(PLAIN) as (keyof View)[]) {
      const value: unknown = Reflect.get(stored, key);
      if (typeof value === "number" && Number.isFinite(value)) view[key] = value;
    }
    return bounded(view);
  } catch {
    return PLAIN;
  }
}
