/** The server as the page knows it: its words (generated from its schema), and three ways in which a request ends. */
import createClient from "openapi-fetch";
import type { components, paths } from "./api-types";

type Schemas = components["schemas"];
export type Session = Schemas["Session"];
export type Picture = Schemas["Picture"];
export type Queue = Schemas["Queue"];
export type Claims = Schemas["Claims"];
export type Decision = Schemas["Decision"];
export type Problem = Schemas["Problem"];
export type Waiting = Schemas["Waiting"];

/** The server has answered: with what was asked for, or with why that cannot be. Asking again changes nothing. */
export type Answer<T> = { ok: T; problem?: never } | { problem: Problem; ok?: never };

/** There was no answer, or the server has trouble of its own: worth asking again. */
export class TryAgain extends Error {
  constructor(
    readonly kind: "lost" | "failing",
    message: string,
  ) {
    super(message);
  }
}

/** The server does not talk to this person: worth signing in again. */
export class Refused extends Error {}

export const REQUEST_SECONDS = 20;

const SIGNED_OUT = "Your sign-in has ended. Reload the page to sign in again.";

type Result<T> = { data?: T; error?: unknown; response: Response };

async function answer<T>(call: Promise<Result<T>>): Promise<Answer<T>> {
  let result: Result<T>;
  try {
    result = await call;
  } catch {
    throw new TryAgain("lost", "The server cannot be reached.");
  }
  const { response, error, data } = result;
  if (response.ok) return { ok: data as T };
  const problem = isProblem(error) ? error : null;
  // A sign-in in front of the app answers with a way to its own page.
  if (response.type === "opaqueredirect" || response.status === 401) throw new Refused(problem?.message ?? SIGNED_OUT);
  if (response.status === 403) throw new Refused(problem?.message ?? "You are not allowed to review here.");
  if (response.status >= 500 || response.status === 429 || response.status === 408)
    throw new TryAgain("failing", problem?.message ?? `The server has trouble (${response.status}).`);
  return { problem: problem ?? { code: "invalid", message: `The server refused this (${response.status}).` } };
}

const isProblem = (body: unknown): body is Problem =>
  typeof body === "object" && body !== null && "code" in body && "message" in body;

/** Requests of a page; `page` names it, and stays the same when the page is loaded again. */
export class Api {
  readonly #client = createClient<paths>({
    baseUrl: globalThis.location?.origin ?? "http://localhost",
    fetch: (request) =>
      fetch(new Request(request, { redirect: "manual", signal: AbortSignal.timeout(REQUEST_SECONDS * 1000) })),
  });

  session = (): Promise<Answer<Session>> => answer(this.#client.GET("/api/session"));

  queue = (page: string, count: number, cursor: string | null, held: string[]): Promise<Answer<Queue>> =>
    answer(this.#client.POST("/api/queue", { ...from(page), body: { count, cursor, held } }));

  decide = (page: string, { id, claim }: Picture, label: string, number: number): Promise<Answer<Decision>> =>
    answer(
      this.#client.POST("/api/pictures/{picture_id}/decision", {
        ...from(page, id),
        body: { label, claim, number },
      }),
    );

  skip = (page: string, { id }: Picture): Promise<Answer<unknown>> =>
    answer(this.#client.POST("/api/pictures/{picture_id}/skip", { ...from(page, id), headers: JSON_CONTENT }));

  undo = (page: string, undo: string, number: number): Promise<Answer<Picture>> =>
    answer(this.#client.POST("/api/undo", { ...from(page), body: { undo, number } }));

  renew = (page: string, pictures: Picture[]): Promise<Answer<Claims>> =>
    answer(this.#client.POST("/api/claims", { ...from(page), body: { pictures: pictures.map(claimed) } }));

  /** Sent even while the page is being left. */
  release = (page: string, pictures: Picture[]): Promise<Answer<unknown>> =>
    answer(
      this.#client.POST("/api/claims/release", {
        ...from(page),
        body: { pictures: pictures.map(claimed) },
        keepalive: true,
      }),
    );

  /** Why an image does not load: null where the server itself finds nothing wrong with it. */
  async whyBroken(picture: Picture): Promise<Problem | null> {
    const response = await fetch(picture.image_url, { redirect: "manual", cache: "no-store" }).catch(() => null);
    if (response === null || response.type === "opaqueredirect" || response.status >= 500) return null;
    const body: unknown = await response.json().catch(() => null);
    return isProblem(body) ? body : null;
  }
}

/** The server takes nothing else from a page, also where a request has no body. */
const JSON_CONTENT = { "Content-Type": "application/json" };

const claimed = ({ id, claim }: Picture) => ({ id, claim });

function from(page: string): { params: { header: { "X-Review-Page": string } } };
function from(
  page: string,
  id: string,
): { params: { header: { "X-Review-Page": string }; path: { picture_id: string } } };
function from(page: string, id?: string) {
  return { params: { header: { "X-Review-Page": page }, path: { picture_id: id } } };
}
