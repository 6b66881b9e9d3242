import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Answer, type Api, type Picture, type Queue, Refused, TryAgain } from "./api";
import type { Send } from "./review";
import * as review from "./review";
import { AHEAD, Work } from "./work";

const CLAIM_SECONDS = 120;
const UNKNOWN = { code: "unknown_picture", message: "There is no such picture." } as const;

/** A server with so many pictures, which can be cut off. */
class Server {
  requests: string[] = [];
  waiting: string[];
  reachable = true;
  failure: Error | null = null;
  decided: Record<string, string> = {};

  constructor(count: number) {
    this.waiting = Array.from({ length: count }, (_, index) => `p${index + 1}`);
  }

  readonly api = {
    session: () =>
      this.#answer("session", () => ({
        ok: {
          reviewer: "anna@example.com",
          labels: ["ok", "defect"],
          waiting: this.#waiting(),
          claim_seconds: CLAIM_SECONDS,
          undo_limit: 10,
        },
      })),
    queue: (_page: string, count: number, _cursor: string | null, held: string[]) =>
      this.#answer(`queue ${count}`, (): Answer<Queue> => {
        const free = this.waiting.filter((id) => !held.includes(id));
        const pictures = free.slice(0, count).map(picture);
        return {
          ok: { pictures, cursor: free.length > count ? "more" : null, waiting: this.#waiting(), passed_over: 0 },
        };
      }),
    decide: (page: string, { id }: Picture, label: string, number: number) =>
      this.#answer(`decide ${id} ${label} ${page} ${number}`, () => {
        if (!this.waiting.includes(id)) return { problem: UNKNOWN };
        this.waiting = this.waiting.filter((each) => each !== id);
        this.decided[id] = label;
        return { ok: { id, label, decided_at: "", undo: `undo-${id}`, waiting: this.#waiting(), passed_over: 0 } };
      }),
    skip: (_page: string, { id }: Picture) => this.#answer(`skip ${id}`, () => ({ ok: undefined })),
    undo: (_page: string, undo: string) =>
      this.#answer(undo, () => ({ ok: picture(`${undo.slice("undo-".length)}-again`) })),
    renew: (_page: string, pictures: Picture[]) =>
      this.#answer("renew", () => ({
        ok: { renewed: pictures.map(({ id }) => ({ id, claim: "2", claimed_until: "" })), lost: [] },
      })),
    release: (_page: string, pictures: Picture[]) =>
      this.#answer(`release ${pictures.length}`, () => ({ ok: undefined })),
  } as unknown as Api;

  sent = (what: string): string[] => this.requests.filter((request) => request.startsWith(what));

  #waiting = () => ({ count: this.waiting.length, exact: true });

  async #answer<T>(request: string, answer: () => Answer<T>): Promise<Answer<T>> {
    this.requests.push(request);
    await Promise.resolve();
    if (this.failure) throw this.failure;
    if (!this.reachable) throw new TryAgain("lost", "The server cannot be reached.");
    return answer();
  }
}

const picture = (id: string): Picture => ({
  id,
  claim: "1",
  name: `${id}.jpeg`,
  label: "defect",
  score: 0.6,
  model: null,
  image_url: `/${id}`,
  claimed_until: "",
  skipped: false,
});

class Memory {
  outbox: readonly Send[] = [];
  open = async () => ({
    kept: { page: "page-one", done: [], number: 0, decided: 0 },
    outbox: [...this.outbox],
  });
  save = (_reviewer: string, _kept: unknown, outbox: readonly Send[]) => {
    this.outbox = outbox;
  };
}

const settled = () => vi.advanceTimersByTimeAsync(0);

function look(work: Work): void {
  for (const { key } of work.state.queue) work.update((state) => review.image(state, key, "ready"));
  work.update((state) => review.painted(state, review.shown(state)?.key ?? ""));
}

function decide(work: Work, label = "ok"): void {
  look(work);
  work.update((state) => review.decide(state, label));
}

async function open(server: Server, memory = new Memory()): Promise<Work> {
  const work = new Work(server.api, memory);
  void work.run();
  await settled();
  return work;
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("so many pictures are held ahead, and asked for anew when half of them are used", async () => {
  const server = new Server(100);
  const work = await open(server);
  expect(work.state.queue).toHaveLength(AHEAD);
  for (let decided = 0; decided < AHEAD / 2 - 1; decided++) decide(work);
  await settled();
  expect(server.sent("queue")).toHaveLength(1);
  decide(work);
  await settled();
  expect(server.sent("queue")).toHaveLength(2);
  expect(work.state.queue).toHaveLength(AHEAD);
});

test("decisions go to the server in order, each once, with their numbers", async () => {
  const server = new Server(20);
  const work = await open(server);
  for (const label of ["ok", "defect", "ok"]) decide(work, label);
  await settled();
  expect(server.sent("decide")).toEqual([
    "decide p1 ok page-one 1",
    "decide p2 defect page-one 2",
    "decide p3 ok page-one 3",
  ]);
  expect(work.state.outbox).toEqual([]);
});

test("without a connection decisions are kept, told, and sent when it is back", async () => {
  const server = new Server(20);
  const memory = new Memory();
  const work = await open(server, memory);
  server.reachable = false;
  decide(work);
  decide(work, "defect");
  await settled();
  expect(work.state.link.kind).toBe("lost");
  expect(memory.outbox).toHaveLength(2);
  server.reachable = true;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.decided).toEqual({ p1: "ok", p2: "defect" });
  expect(work.state.link.kind).toBe("fine");
  expect(memory.outbox).toEqual([]);
});

test("a lost connection is tried more and more seldom, and at once when asked to", async () => {
  const server = new Server(20);
  const work = await open(server);
  server.reachable = false;
  decide(work);
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  const tries = server.sent("decide").length;
  expect(tries).toBeLessThan(30);
  work.hurry();
  await settled();
  expect(server.sent("decide").length).toBe(tries + 1);
});

test("decisions that a page left behind are sent first, and their pictures not shown again", async () => {
  const server = new Server(20);
  const memory = new Memory();
  const action = { kind: "decide" as const, label: "ok" };
  memory.outbox = [{ page: "page-before", number: 4, picture: picture("p1"), action }];
  const work = await open(server, memory);
  await settled();
  expect(server.sent("decide")).toEqual(["decide p1 ok page-before 4"]);
  expect(work.state.queue[0]?.picture.id).toBe("p2");
});

test("what the server refuses for good does not hold up the next", async () => {
  const server = new Server(20);
  const work = await open(server);
  server.waiting = server.waiting.filter((id) => id !== "p1");
  decide(work);
  decide(work, "defect");
  await settled();
  expect(work.state.notices).toHaveLength(1);
  expect(server.decided).toEqual({ p2: "defect" });
});

test("claims are renewed at half of their time, with what is claimed then", async () => {
  const server = new Server(20);
  const work = await open(server);
  await vi.advanceTimersByTimeAsync((CLAIM_SECONDS / 2 - 1) * 1000);
  expect(server.sent("renew")).toEqual([]);
  await vi.advanceTimersByTimeAsync(2000);
  expect(server.sent("renew")).toHaveLength(1);
  expect(work.state.queue[0]?.picture.claim).toBe("2");
});

test("a claim that ran out while the machine slept is renewed before anything is decided", async () => {
  const server = new Server(20);
  const work = await open(server);
  look(work);
  vi.setSystemTime(Date.now() + CLAIM_SECONDS * 1000);
  work.wake();
  expect(review.decidable(work.state)).toBe(false);
  await settled();
  expect(server.sent("renew")).toHaveLength(1);
  expect(review.decidable(work.state)).toBe(true);
});

test("a skip is sent when something else is done, or when nothing else is left", async () => {
  const server = new Server(2);
  const work = await open(server);
  look(work);
  work.update(review.skip);
  await settled();
  expect(server.sent("skip")).toEqual([]);
  decide(work);
  await settled();
  expect(server.requests.slice(-3)).toContain("skip p1");
  expect(server.decided).toEqual({ p2: "ok" });
});

test("an empty queue is looked at again, more and more seldom", async () => {
  const server = new Server(0);
  const work = await open(server);
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  expect(server.sent("queue").length).toBeLessThan(40);
  server.waiting = ["new"];
  await vi.advanceTimersByTimeAsync(30_000);
  expect(work.state.queue).toHaveLength(1);
});

test("who is not signed in any more is told, and keeps the decisions", async () => {
  const server = new Server(20);
  const memory = new Memory();
  const work = await open(server, memory);
  server.failure = new Refused("Your sign-in has ended.");
  decide(work);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(work.state.link).toEqual({ kind: "refused", why: "Your sign-in has ended." });
  expect(memory.outbox).toHaveLength(1);
  expect(server.sent("decide")).toHaveLength(1);
});

test("who leaves lets others have the pictures", async () => {
  const server = new Server(5);
  const work = await open(server);
  decide(work);
  work.leave();
  expect(server.sent("release")).toEqual(["release 4"]);
});
