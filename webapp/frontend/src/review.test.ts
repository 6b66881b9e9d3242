import { expect, test } from "vitest";
import type { Picture, Problem, Session } from "./api";
import type { State } from "./review";
import * as review from "./review";

const SESSION: Session = {
  reviewer: "anna@example.com",
  labels: ["ok", "defect"],
  waiting: { count: 50, exact: true },
  claim_seconds: 120,
  undo_limit: 10,
};
const UNTIL = 1000;

const picture = (id: string): Picture => ({
  id,
  claim: "1",
  name: `${id}.jpeg`,
  label: "defect",
  score: 0.61,
  model: "ICN1",
  image_url: `/api/pictures/${id}/image`,
  claimed_until: "2026-11-21T10:00:00Z",
  skipped: false,
});

/** A page that holds these pictures and has loaded them; the first one is on the screen. */
function holding(...ids: string[]): State {
  const start = review.begin({ page: "page-one", done: [], number: 0, decided: 0 }, []);
  let state: State = { ...start, session: SESSION };
  state = review.received(
    state,
    { pictures: ids.map(picture), cursor: "c", waiting: SESSION.waiting, passed_over: 0 },
    UNTIL,
  );
  for (const id of ids) state = review.image(state, id, "ready");
  return look(state);
}

/** The screen shows what there is to be shown. */
const look = (state: State): State => review.painted(state, review.shown(state)?.key ?? "");
const queue = (state: State): string[] => state.queue.map((held) => held.picture.id);
const outbox = (state: State): string[] => state.outbox.map(({ picture, action }) => `${action.kind} ${picture.id}`);
const decision = (id: string) => ({
  id,
  label: "ok",
  decided_at: "2026-11-21T10:00:00Z",
  undo: `undo-${id}`,
  waiting: { count: 49, exact: true },
});
const FASTER: Problem = { code: "decided", message: "bert was faster.", by: "bert@example.com", label: "defect" };

test("a key held down decides each picture once, and only when it is on the screen", () => {
  let state = holding("a", "b", "c");
  for (let presses = 0; presses < 3; presses++) state = review.decide(state, "ok");
  expect(outbox(state)).toEqual(["decide a"]);
  for (let presses = 0; presses < 9; presses++) state = look(review.decide(state, "ok"));
  expect(outbox(state)).toEqual(["decide a", "decide b", "decide c"]);
  expect(state.outbox.map(({ number }) => number)).toEqual([1, 2, 3]);
  expect(state.decided).toBe(3);
});

test("nothing is decided on a picture that is not loaded, or whose claim has run out", () => {
  const loading = review.image(holding("a"), "a", "loading");
  expect(outbox(review.decide(loading, "ok"))).toEqual([]);
  const expired = review.expire(holding("a"), UNTIL);
  expect(outbox(review.decide(expired, "ok"))).toEqual([]);
  expect(outbox(review.skip(expired))).toEqual([]);
});

test("a picture that cannot be loaded, or not soon, can be decided once the reviewer sees that", () => {
  const broken = review.image(holding("a", "b"), "a", "broken");
  const slow = review.slow(review.image(holding("a", "b"), "a", "loading"), "a");
  for (const state of [broken, slow]) {
    expect(review.unseen(state)).toBe(true);
    expect(outbox(review.decide(state, "ok"))).toEqual([]);
    expect(outbox(review.decide(look(state), "ok"))).toEqual(["decide a"]);
    expect(outbox(review.skip(look(state)))).toEqual(["skip a"]);
  }
  expect(broken.spoken).toBe("This picture cannot be shown here. You can decide on it all the same.");
});

test("a picture that comes late is decided on only when it is on the screen", () => {
  const slow = look(review.slow(review.image(holding("a"), "a", "loading"), "a"));
  const ready = review.image(slow, "a", "ready");
  expect(review.unseen(ready)).toBe(false);
  expect(outbox(review.decide(ready, "ok"))).toEqual([]);
  expect(outbox(review.decide(look(ready), "ok"))).toEqual(["decide a"]);
  expect(review.slow(ready, "a")).toBe(ready);
});

test("what the storage refuses to reserve is counted over all pages of a search", () => {
  const answer = { pictures: [], waiting: { count: 3, exact: true }, passed_over: 1 };
  let state = review.received({ ...holding(), cursor: null }, { ...answer, cursor: "c" }, UNTIL);
  state = review.received(state, { ...answer, cursor: null }, UNTIL);
  expect(state.passedOver).toBe(2);
  expect(review.received(state, { ...answer, cursor: null }, UNTIL).passedOver).toBe(1);
});

test("the outbox counts as decided", () => {
  const state = review.decide(holding("a", "b"), "ok");
  expect(review.waiting(state)).toBe(49);
  expect(review.waiting(review.sent({ ...state, sending: true }, { decision: decision("a") }))).toBe(49);
});

test("undo of what was not sent yet never reaches the server", () => {
  let state = review.decide(holding("a", "b"), "ok");
  state = review.undo(state);
  expect(queue(state)).toEqual(["a", "b"]);
  expect(outbox(state)).toEqual([]);
  expect(state.decided).toBe(0);
});

test("undo of what is on its way is sent after it, with what the server answered", () => {
  let state: State = { ...review.decide(holding("a", "b"), "ok"), sending: true };
  state = review.undo(state);
  expect(outbox(state)).toEqual(["decide a", "undo a"]);
  state = review.sent(state, { decision: decision("a") });
  expect(state.outbox[0]?.action).toEqual({ kind: "undo", undo: "undo-a" });
});

test("a picture that came back is decided anew under its new id", () => {
  let state: State = { ...review.decide(holding("a", "b"), "ok"), sending: true };
  state = review.sent(state, { decision: decision("a") });
  state = look(review.undo(state));
  expect(review.renewable(state).map(({ id }) => id)).toEqual(["b"]);
  state = review.decide({ ...state, sending: true }, "defect");
  expect(outbox(state)).toEqual(["undo a", "decide a"]);
  state = review.sent(state, { returned: { ...picture("a2"), claim: "7" }, until: 2000 });
  expect(outbox(state)).toEqual(["decide a2"]);
  expect(state.outbox[0]?.picture.claim).toBe("7");
  expect(state.decided).toBe(1);
  state = look(review.undo(state));
  expect(queue(state)).toEqual(["a2", "b"]);
  expect(state.queue[0]?.key).toBe("a");
});

test("undo reaches ten back, and says so when there is nothing", () => {
  const ids = Array.from({ length: 12 }, (_, index) => `p${index}`);
  let state = holding(...ids);
  for (const _ of ids) state = look(review.decide(state, "ok"));
  for (const _ of ids) state = review.undo(state);
  expect(queue(state)).toHaveLength(10);
  expect(state.spoken).toBe("Nothing to take back.");
});

test("a skip can be taken back until it is sent", () => {
  const skipped = review.skip(holding("a", "b"));
  expect(queue(review.undo(skipped))).toEqual(["a", "b"]);
  const sent = review.sent({ ...skipped, sending: true }, {});
  expect(queue(review.undo(sent))).toEqual(["b"]);
});

test("a decision that came too late is told, and no longer counted", () => {
  let state: State = { ...review.decide(holding("a", "b"), "ok"), sending: true };
  state = review.refused(state, FASTER);
  expect(state).toMatchObject({ decided: 0, outbox: [], done: [], sending: false });
  expect(state.notices[0]).toBe("a.jpeg: bert@example.com was faster and decided “defect”. Your “ok” was not counted.");
  expect(state.spoken).toContain("was faster");
});

test("where the decision was too late, its undo is dropped with the picture", () => {
  let state: State = { ...review.decide(holding("a", "b"), "ok"), sending: true };
  state = review.refused(review.undo(state), FASTER);
  expect(state).toMatchObject({ decided: 0, outbox: [] });
  expect(queue(state)).toEqual(["b"]);
});

test("an undo that is refused leaves the decision counted", () => {
  let state: State = { ...review.decide(holding("a", "b"), "ok"), sending: true };
  state = review.sent(state, { decision: decision("a") });
  state = review.decide(look({ ...review.undo(state), sending: true }), "defect");
  state = review.refused(state, { code: "undo_refused", message: "The picture is no longer there." });
  expect(state).toMatchObject({ decided: 1, outbox: [] });
  expect(queue(state)).toEqual(["b"]);
  expect(state.notices[0]).toContain("the decision stands");
});

test("nobody is told that a skipped picture went to another", () => {
  const state = review.refused({ ...review.skip(holding("a", "b")), sending: true }, FASTER);
  expect(state.notices).toEqual([]);
});

test("a renewal brings new claims, and takes away what others have", () => {
  const problem: Problem = { code: "claimed", message: "bert has it.", by: "bert@example.com" };
  const renewed = [{ id: "c", claim: "9", claimed_until: "2026-11-21T10:02:00Z" }];
  const lost = [
    { id: "a", problem },
    { id: "b", problem },
  ];
  const state = review.renewed(review.expire(holding("a", "b", "c"), UNTIL), { renewed, lost }, 5000);
  expect(queue(state)).toEqual(["c"]);
  expect(state.queue[0]).toMatchObject({ expired: false, until: 5000, picture: { claim: "9" } });
  // Of b, which was never on the screen, nobody needs to hear.
  expect(state.notices).toEqual(["a.jpeg: bert@example.com has this picture now."]);
});

test("a picture is taken into the queue once", () => {
  let state = review.decide(holding("a", "b"), "ok");
  const pictures = ["a", "b", "c"].map(picture);
  state = review.received(state, { pictures, cursor: null, waiting: SESSION.waiting, passed_over: 0 }, UNTIL);
  expect(queue(state)).toEqual(["b", "c"]);
  expect(state.exhausted).toBe(true);
});

test("what is shown next is said, and when there is nothing more", () => {
  let state = review.decide(holding("a", "b"), "ok");
  expect(state.spoken).toBe("ok. Next: defect, 61 %, b.jpeg.");
  state = review.decide(look(state), "defect");
  expect(state.spoken).toBe("defect. No more pictures here.");
});
