/**
 * What the browser keeps: for a window's session, its page's name and what it can take back; for as long as it takes,
 * the decisions that have not reached the server.
 *
 * Each page has an outbox of its own, under its reviewer's name. What a closed window left behind is taken over by the
 * next page that opens: a page holds a lock on its name for as long as it is open.
 */
import type { Kept, Send } from "./review";

const PAGE = "review/page/";
const OUTBOX = "review/outbox/";

/** How long the page before a reload may take to let go of its name. */
const UNLOAD_MS = 1000;

export interface Found {
  kept: Kept;
  outbox: Send[];
}

export async function open(reviewer: string): Promise<Found> {
  let kept = read<Kept>(sessionStorage, PAGE + reviewer) ?? newPage();
  // A window that was duplicated has a copy of the other one's name.
  if (!(await locked(kept.page, UNLOAD_MS))) {
    kept = newPage();
    await locked(kept.page, UNLOAD_MS);
  }
  const mine = outboxKey(reviewer, kept.page);
  const outbox = read<Send[]>(localStorage, mine) ?? [];
  for (const key of keys(localStorage)) {
    if (!key.startsWith(outboxKey(reviewer, "")) || key === mine) continue;
    if (!(await locked(key.slice(outboxKey(reviewer, "").length), 0))) continue;
    const left = read<Send[]>(localStorage, key) ?? [];
    outbox.push(...left);
    kept = { ...kept, decided: kept.decided + left.filter(({ action }) => action.kind === "decide").length };
    save(reviewer, kept, outbox);
    localStorage.removeItem(key);
  }
  // Their images went with the page.
  const done = kept.done.map((done) => ({ ...done, held: { ...done.held, image: "loading" as const } }));
  return { kept: { ...kept, done }, outbox };
}

export function save(reviewer: string, { page, done, number, decided }: Kept, outbox: readonly Send[]): void {
  try {
    sessionStorage.setItem(PAGE + reviewer, JSON.stringify({ page, done, number, decided }));
    if (outbox.length) localStorage.setItem(outboxKey(reviewer, page), JSON.stringify(outbox));
    else localStorage.removeItem(outboxKey(reviewer, page));
  } catch {
    // Storage is switched off or full: decisions are then kept for as long as the page is open.
  }
}

const newPage = (): Kept => ({ page: crypto.randomUUID(), done: [], number: 0, decided: 0 });
const outboxKey = (reviewer: string, page: string): string => `${OUTBOX}${reviewer}/${page}`;

function keys(storage: Storage): string[] {
  return Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
}

function read<T>(storage: Storage, key: string): T | null {
  try {
    return JSON.parse(storage.getItem(key) ?? "null") as T | null;
  } catch {
    return null;
  }
}

/** Whether this page now holds the name, and does so until it is left; waits for it no longer than `ms`. */
function locked(page: string, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const waiting = ms ? { signal: AbortSignal.timeout(ms) } : { ifAvailable: true };
    navigator.locks
      .request(OUTBOX + page, waiting, (lock) => {
        resolve(lock !== null);
        return lock ? new Promise<never>(() => {}) : null;
      })
      .catch(() => resolve(false));
  });
}
