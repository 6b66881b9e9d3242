/** The work behind the page: sends the outbox, keeps enough pictures claimed, renews the claims. */
import { type Answer, type Api, Refused, TryAgain } from "./api";
import type { Send, State } from "./review";
import * as review from "./review";
import type { Found } from "./storage";

/** How many pictures are held, the shown one included. */
export const AHEAD = 12;
/** The server's limit for what one page may hold: an outbox that long is worked off before more is asked for. */
const MAX_HELD = 60;

const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30_000;
/** How soon to look for new pictures where there were none, and how seldom in the end. */
const FIRST_LOOK_MS = 3000;
const LONGEST_LOOK_MS = 30_000;

type Store = {
  open(reviewer: string): Promise<Found>;
  save(reviewer: string, kept: State, outbox: State["outbox"]): void;
};

export class Work {
  state: State = review.begin({ page: "", done: [], number: 0, decided: 0 }, []);
  readonly #api: Api;
  readonly #store: Store;
  readonly #listeners = new Set<() => void>();
  #renewAt = Number.POSITIVE_INFINITY;
  #retryMs = FIRST_RETRY_MS;
  #lookMs = FIRST_LOOK_MS;
  readonly #pauses = new Set<() => void>();

  constructor(api: Api, store: Store) {
    this.#api = api;
    this.#store = store;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly read = (): State => this.state;

  /** Changes the state by a function of `review`. */
  readonly update = (change: (state: State) => State): void => {
    const before = this.state;
    this.state = change(before);
    if (this.state === before) return;
    const { session, outbox, done, decided } = this.state;
    if (session && (outbox !== before.outbox || done !== before.done || decided !== before.decided))
      this.#store.save(session.reviewer, this.state, outbox);
    for (const listener of this.#listeners) listener();
  };

  async run(): Promise<void> {
    try {
      const { ok: session } = await this.#ask(() => this.#api.session());
      if (!session) return;
      const { kept, outbox } = await this.#store.open(session.reviewer);
      this.update(({ link }) => ({ ...review.begin(kept, outbox), session, waiting: session.waiting, link }));
      await Promise.all([this.#sendAndRenew(), this.#fill()]);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.update((state) => ({ ...state, link: { kind: "refused", why: error.message } }));
    }
  }

  /** Tries a lost connection, or looks for new pictures, now. */
  readonly hurry = (): void => {
    for (const end of [...this.#pauses]) end();
  };

  /** Lets others have the pictures that nobody here has decided on. */
  readonly leave = (): void => {
    const pictures = review.renewable(this.state);
    if (pictures.length) this.#api.release(this.state.page, pictures).catch(() => {});
  };

  /** Claims that have run out, which happens when a machine sleeps, are renewed before anything is decided on them. */
  readonly wake = (): void => {
    if (review.expire(this.state, Date.now()) === this.state) return;
    this.#renewAt = 0;
    this.update((state) => review.expire(state, Date.now()));
    this.hurry();
  };

  // One request at a time: a renewal changes the claim that a decision carries.
  async #sendAndRenew(): Promise<never> {
    for (;;) {
      const next = this.state.outbox[0];
      if (Date.now() >= this.#renewAt && !this.state.sending) await this.#renew();
      else if (next && !this.#mayBeTakenBack(next)) await this.#send(next);
      else await this.#change(this.#renewAt - Date.now());
    }
  }

  /** A skip is sent when something else has been done since: until then it can be taken back. */
  #mayBeTakenBack({ action }: Send): boolean {
    return action.kind === "skip" && this.state.outbox.length === 1 && this.state.queue.length > 0;
  }

  async #send({ page, number, picture, action }: Send): Promise<void> {
    this.update((state) => ({ ...state, sending: true }));
    const until = this.#until();
    if (action.kind === "decide") {
      const answer = await this.#ask(() => this.#api.decide(page, picture, action.label, number));
      this.update((state) =>
        answer.ok ? review.sent(state, { decision: answer.ok }) : review.refused(state, answer.problem),
      );
    } else if (action.kind === "skip") {
      const answer = await this.#ask(() => this.#api.skip(page, picture));
      this.update((state) => (answer.problem ? review.refused(state, answer.problem) : review.sent(state, {})));
      this.#lookMs = FIRST_LOOK_MS;
      this.hurry();
    } else {
      const answer = await this.#ask(() => this.#api.undo(page, action.undo ?? "", number));
      this.update((state) =>
        answer.ok ? review.sent(state, { returned: answer.ok, until }) : review.refused(state, answer.problem),
      );
    }
  }

  async #renew(): Promise<void> {
    const pictures = review.renewable(this.state).slice(0, MAX_HELD);
    const until = this.#until();
    this.#renewAt = Date.now() + this.#claimMs() / 2;
    if (!pictures.length) return;
    const { ok } = await this.#ask(() => this.#api.renew(this.state.page, pictures));
    if (ok) this.update((state) => review.renewed(state, ok, until));
  }

  async #fill(): Promise<never> {
    for (;;) {
      const { queue, outbox, cursor, page } = this.state;
      const room = Math.min(AHEAD - queue.length, MAX_HELD - queue.length - outbox.length);
      if (room < AHEAD / 2) {
        await this.#change();
        continue;
      }
      const held = [...new Set([...queue, ...outbox].map(({ picture }) => picture.id))];
      const until = this.#until();
      const { ok } = await this.#ask(() => this.#api.queue(page, room, cursor, held));
      if (ok) {
        this.update((state) => review.received(state, ok, until));
        this.#renewAt = Math.min(this.#renewAt, Date.now() + this.#claimMs() / 2);
        if (ok.pictures.length) this.#lookMs = FIRST_LOOK_MS;
        if (ok.cursor !== null) continue;
      } else {
        this.update((state) => ({ ...state, cursor: null }));
      }
      await this.#wait(this.#lookMs);
      this.#lookMs = Math.min(this.#lookMs * 1.5, LONGEST_LOOK_MS);
    }
  }

  /** Asks until there is an answer. */
  async #ask<T>(request: () => Promise<Answer<T>>): Promise<Answer<T>> {
    for (;;) {
      if (this.state.link.kind === "refused") await new Promise<never>(() => {});
      try {
        const answer = await request();
        this.#retryMs = FIRST_RETRY_MS;
        if (this.state.link.kind !== "fine" && this.state.link.kind !== "refused") {
          this.hurry();
          this.update((state) => ({ ...state, link: { kind: "fine" } }));
        }
        return answer;
      } catch (error) {
        if (!(error instanceof TryAgain)) throw error;
        this.update((state) => ({ ...state, link: { kind: error.kind, why: error.message } }));
        await this.#wait(this.#retryMs);
        this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
      }
    }
  }

  #claimMs = (): number => (this.state.session?.claim_seconds ?? 60) * 1000;

  /** When a claim that is asked for now will have run out at the earliest. */
  #until = (): number => Date.now() + this.#claimMs();

  /** The next change of the state, or after `ms` at the latest. */
  #change(ms = Number.POSITIVE_INFINITY): Promise<void> {
    return new Promise((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(done, Math.max(0, ms)) : undefined;
      const stop = this.subscribe(done);
      function done() {
        clearTimeout(timer);
        stop();
        resolve();
      }
    });
  }

  /** A pause that `hurry` ends. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(end, ms);
      const pauses = this.#pauses.add(end);
      function end() {
        clearTimeout(timer);
        pauses.delete(end);
        resolve();
      }
    });
  }
}
