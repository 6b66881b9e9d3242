/**
 * What a reviewer's window knows, and what each happening makes of it: pure functions from one state to the next.
 *
 * The page never waits for the server: a decision takes the picture out of the queue at once and stands in the outbox
 * until the server has it. The outbox is sent in order, one at a time.
 */
import type { Claims, Decision, Picture, Problem, Queue, Session, Waiting } from "./api";

/** How many notices stand on the page at once. */
const MAX_NOTICES = 3;

export interface Held {
  /** Stays the same where the picture's id changes, as it does by an undo. */
  key: string;
  picture: Picture;
  /** The address that its image was loaded from. */
  src: string;
  /** When the claim runs out, by this machine's clock, in milliseconds. */
  until: number;
  expired: boolean;
  /** "slow": it is still loading, after so long that the reviewer need not wait for it. */
  image: "loading" | "slow" | "ready" | "broken";
}

export type Action = { kind: "decide"; label: string } | { kind: "skip" };

/** What undo can take back. */
export interface Done {
  held: Held;
  action: Action;
  /** What the server wants to see to take a decision back; null until it has the decision. */
  undo: string | null;
}

export interface Send {
  /** The page on which it was done: decisions that another window of this browser left behind are sent in its name. */
  page: string;
  /** How many decisions that page had made, this one counted. */
  number: number;
  picture: Picture;
  action: Action | { kind: "undo"; undo: string | null };
}

export type Link =
  | { kind: "connecting" | "fine" }
  /** Asked again by itself. */
  | { kind: "lost" | "failing"; why: string }
  /** Nothing more can be done without the reader. */
  | { kind: "refused"; why: string };

export interface State {
  page: string;
  session: Session | null;
  /** Claimed, in order; the first one is shown. */
  queue: readonly Held[];
  /** Where the search for more goes on; null = from the start. */
  cursor: string | null;
  /** The last search came to its end. */
  exhausted: boolean;
  /** How many free pictures the last search left out because the storage refuses to reserve them. */
  passedOver: number;
  /** The key of the picture that has been on the screen, or why it cannot be, for at least one frame. */
  painted: string | null;
  outbox: readonly Send[];
  /** The first of the outbox is on its way, or may have been: it can no longer be taken out. */
  sending: boolean;
  /** The latest last. */
  done: readonly Done[];
  /** How many decisions this page has made, those taken back included. */
  number: number;
  /** How many decisions of this session stand. */
  decided: number;
  waiting: Waiting | null;
  link: Link;
  notices: readonly string[];
  /** What a screen reader says next. */
  spoken: string;
}

/** What of the state outlives a reload of the page. */
export type Kept = Pick<State, "page" | "done" | "number" | "decided">;

export const begin = (kept: Kept, outbox: readonly Send[]): State => ({
  ...kept,
  session: null,
  queue: [],
  cursor: null,
  exhausted: false,
  passedOver: 0,
  painted: null,
  outbox,
  // One that was on its way when the page was left may have arrived.
  sending: outbox.length > 0,
  waiting: null,
  link: { kind: "connecting" },
  notices: [],
  spoken: "",
});

export const percent = (score: number | null): string => (score === null ? "" : `${Math.round(score * 100)} %`);

export const shown = (state: State): Held | undefined => state.queue[0];

/** Whether there is a picture to decide on: loaded, or known not to load soon, and still held. */
const presentable = (held: Held | undefined): held is Held =>
  held !== undefined && held.image !== "loading" && !held.expired;

/** Whether a key may decide: only where the reviewer has the picture, or that it is not shown, before the eyes. */
export function decidable(state: State): boolean {
  const held = shown(state);
  return presentable(held) && state.painted === held.key;
}

/** Whether the next frame brings a picture before the reviewer's eyes. */
export function arriving(state: State): boolean {
  const held = shown(state);
  return presentable(held) && state.painted !== held.key;
}

/** Whether the picture is not to be seen: what was meant for one that is must not decide on it. */
export function unseen(state: State): boolean {
  const held = shown(state);
  return held !== undefined && held.image !== "ready";
}

/** About how many pictures nobody has decided on, as the reviewer sees it: what is in the outbox is decided. */
export function waiting({ waiting, outbox, queue }: State): number {
  const unsent = outbox.reduce((sum, { action }) => sum + { decide: 1, skip: 0, undo: -1 }[action.kind], 0);
  return Math.max(queue.length, (waiting?.count ?? 0) - unsent);
}

// What the reviewer does

export function decide(state: State, label: string): State {
  const held = shown(state);
  if (!held || !decidable(state)) return state;
  const number = state.number + 1;
  const next = taken(state, held, { kind: "decide", label }, number);
  return told(state, { ...next, number, decided: state.decided + 1 }, `${label}.`);
}

export function skip(state: State): State {
  const held = shown(state);
  if (!held || !decidable(state)) return state;
  return told(state, taken(state, held, { kind: "skip" }, state.number), "Skipped.");
}

function taken(state: State, held: Held, action: Action, number: number): State {
  return {
    ...state,
    queue: state.queue.slice(1),
    outbox: [...state.outbox, { page: state.page, number, picture: held.picture, action }],
    done: [...state.done, { held, action, undo: null }].slice(-(state.session?.undo_limit ?? 10)),
  };
}

/** Shows the last picture again, and takes back what was done with it. */
export function undo(state: State): State {
  const last = state.done.at(-1);
  if (!last) return { ...state, spoken: "Nothing to take back." };
  const { held, action } = last;
  const decided = action.kind === "decide" ? state.decided - 1 : state.decided;
  const unsent = state.outbox.length > (state.sending ? 1 : 0) && state.outbox.at(-1)?.picture.id === held.picture.id;
  const outbox = unsent
    ? state.outbox.slice(0, -1)
    : [
        ...state.outbox,
        {
          page: state.page,
          number: state.number,
          picture: held.picture,
          action: { kind: "undo" as const, undo: last.undo },
        },
      ];
  const next = { ...state, queue: [held, ...state.queue], outbox, done: state.done.slice(0, -1), decided };
  return told(state, next, action.kind === "decide" ? `Taken back: ${action.label}.` : "Skip taken back.");
}

export const dismiss = (state: State): State => (state.notices.length ? { ...state, notices: [] } : state);

// What happens to the picture on the screen

export const painted = (state: State, key: string): State =>
  shown(state)?.key === key && state.painted !== key ? { ...state, painted: key } : state;

export function image(state: State, key: string, image: Held["image"]): State {
  const queue = state.queue.map((held) => (held.key === key ? { ...held, image } : held));
  const next = { ...state, queue, painted: state.painted === key ? null : state.painted };
  if (shown(next)?.key !== key || (image !== "broken" && image !== "slow")) return next;
  return { ...next, spoken: `${UNSEEN[image]}. You can decide on it all the same.` };
}

/** It has been loading for long. */
export const slow = (state: State, key: string): State =>
  state.queue.some((held) => held.key === key && held.image === "loading") ? image(state, key, "slow") : state;

export const UNSEEN = {
  broken: "This picture cannot be shown here",
  slow: "This picture takes long to load",
};

/** Asks for the image anew. */
export const reload = (state: State, key: string): State => ({
  ...state,
  queue: state.queue.map((held) =>
    held.key === key ? { ...held, image: "loading", src: `${held.picture.image_url}?${Date.now()}` } : held,
  ),
});

/** The picture is no longer there, or no longer this page's. */
export function gone(state: State, id: string, problem: Problem): State {
  const held = state.queue.find(({ picture }) => picture.id === id);
  // While an undo is on its way, its answer will tell.
  if (!held || state.outbox.some(({ picture }) => picture.id === id)) return state;
  return told(state, noticed(without(state, id), explain(held.picture, problem)));
}

// What the server answers

/** The next pictures; they are held until `until`. */
export function received(state: State, { pictures, cursor, waiting, passed_over }: Queue, until: number): State {
  const known = new Set([...state.queue, ...state.outbox].map(({ picture }) => picture.id));
  const more = pictures
    .filter(({ id }) => !known.has(id))
    .map(
      (picture): Held => ({
        key: picture.id,
        picture,
        src: picture.image_url,
        until,
        expired: false,
        image: "loading",
      }),
    );
  const passedOver = passed_over + (state.cursor === null ? 0 : state.passedOver);
  const next = { ...state, queue: [...state.queue, ...more], cursor, exhausted: cursor === null, waiting, passedOver };
  return told(state, next);
}

/** Claims are to be renewed for these: not for a picture that the server does not know to be back in the queue. */
export function renewable({ queue, outbox }: State): Picture[] {
  const returning = new Set(outbox.map(({ picture }) => picture.id));
  return queue.map(({ picture }) => picture).filter(({ id }) => !returning.has(id));
}

export function renewed(state: State, claims: Claims, until: number): State {
  const fresh = new Map(claims.renewed.map((claim) => [claim.id, claim]));
  let next: State = {
    ...state,
    queue: state.queue.map((held) => {
      const claim = fresh.get(held.picture.id);
      return claim ? { ...held, until, expired: false, picture: { ...held.picture, ...claim } } : held;
    }),
  };
  for (const { id, problem } of claims.lost) {
    // Of those that nobody has looked at yet nobody needs to hear.
    next = shown(state)?.picture.id === id ? gone(next, id, problem) : without(next, id);
  }
  return told(state, next);
}

export function expire(state: State, now: number): State {
  if (!state.queue.some(({ until, expired }) => !expired && until <= now)) return state;
  return { ...state, queue: state.queue.map((held) => (held.until <= now ? { ...held, expired: true } : held)) };
}

/** The server has done the first of the outbox. */
export function sent(state: State, result: { decision?: Decision; returned?: Picture; until?: number }): State {
  const [first, ...outbox] = state.outbox;
  if (!first) return state;
  const { id } = first.picture;
  const next: State = { ...state, outbox, sending: false };
  const { decision, returned, until } = result;
  if (decision) {
    const { undo } = decision;
    return {
      ...next,
      waiting: decision.waiting,
      done: next.done.map((done) => (done.held.picture.id === id ? { ...done, undo } : done)),
      outbox: outbox.map((send) =>
        send.picture.id === id && send.action.kind === "undo" ? { ...send, action: { kind: "undo", undo } } : send,
      ),
    };
  }
  if (returned) {
    // It has a new id; whatever has been done with it since is about that one.
    const rename = <T extends { picture: Picture }>(about: T): T =>
      about.picture.id === id ? { ...about, picture: returned } : about;
    const queue = next.queue
      .filter(({ picture }) => picture.id !== returned.id)
      .map((held) => (held.picture.id === id ? { ...held, until: until ?? held.until, expired: false } : held))
      // The image that is on the page is still the right one.
      .map((held) =>
        held.picture.id === id && held.image !== "ready"
          ? { ...held, src: returned.image_url, image: "loading" as const }
          : held,
      )
      .map(rename);
    const done = next.done.map((done) => ({ ...done, held: rename(done.held) }));
    const correct = next.waiting && { ...next.waiting, count: next.waiting.count + 1 };
    return { ...next, queue, done, outbox: outbox.map(rename), waiting: correct };
  }
  // A skip: whoever is next may have the picture already.
  return { ...next, done: next.done.filter(({ held }) => held.picture.id !== id) };
}

/** The server has refused the first of the outbox, for good. */
export function refused(state: State, problem: Problem): State {
  const first = state.outbox[0];
  if (!first) return state;
  const next = { ...without(state, first.picture.id), sending: false };
  // Nobody needs to hear that a skipped picture was taken by another.
  return told(
    state,
    first.action.kind === "skip" ? next : noticed(next, explain(first.picture, problem, first.action)),
  );
}

/** Everything about a picture taken away, and the count corrected by what was not sent. */
function without(state: State, id: string): State {
  const others = <T extends { picture: Picture }>({ picture }: T) => picture.id !== id;
  const dropped = state.outbox.filter((send) => !others(send));
  const change = { decide: -1, skip: 0, undo: +1 };
  return {
    ...state,
    queue: state.queue.filter(others),
    outbox: state.outbox.filter(others),
    done: state.done.filter(({ held }) => others(held)),
    decided: dropped.reduce((sum, { action }) => sum + change[action.kind], state.decided),
  };
}

// Words

const noticed = (state: State, text: string): State => ({
  ...state,
  notices: [...state.notices, text].slice(-MAX_NOTICES),
});

function explain({ name }: Picture, problem: Problem, action?: Send["action"]): string {
  const { code, by, label, message } = problem;
  if (action?.kind === "undo") return `${name}: the decision stands. ${message}`;
  const yours = action?.kind === "decide" ? ` Your “${action.label}” was not counted.` : "";
  if (code === "decided" && by && label) return `${name}: ${by} was faster and decided “${label}”.${yours}`;
  if (code === "claimed" && by) return `${name}: ${by} has this picture now.${yours}`;
  return `${name}: ${message}${yours}`;
}

export function describe({ name, label, score }: Picture): string {
  if (!label) return `Next: ${name}.`;
  return `Next: ${label}${score === null ? "" : `, ${percent(score)}`}, ${name}.`;
}

/** Says what was done, and which picture is shown now where it has changed. */
function told(before: State, after: State, what = ""): State {
  const held = shown(after);
  const changed = held?.key !== shown(before)?.key;
  const news = after.notices !== before.notices ? (after.notices.at(-1) ?? "") : "";
  const next = changed ? (held ? describe(held.picture) : "No more pictures here.") : "";
  const spoken = [what, news, next].filter(Boolean).join(" ");
  return spoken ? { ...after, spoken } : after;
}
