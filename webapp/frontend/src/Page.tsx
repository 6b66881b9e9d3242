import { useCallback, useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Api } from "./api";
import { Help } from "./Help";
import { type Command, commandFor } from "./keys";
import { Messages } from "./Messages";
import { Panel, Status } from "./Panel";
import * as review from "./review";
import { Viewer } from "./Viewer";
import { bounded, PLAIN, panned, parsed, type View, zoomed } from "./view";
import type { Work } from "./work";

const VIEW = "review/view";

/** A key that comes between a picture and its first frame waits for the frame, but no longer than this. */
const KEY_WAITS_MS = 250;

/** How long a button looks pressed when its key was pressed. */
const PRESSED_MS = 120;

interface Early {
  command: Command;
  at: number;
  /** By a key that is held down. */
  repeated: boolean;
  /** The picture that could be decided on at that moment. */
  on: string | undefined;
}

export function Page({ work, api }: { work: Work; api: Api }) {
  const state = useSyncExternalStore(work.subscribe, work.read);
  const [view, setView] = useView();
  const [helping, setHelping] = useState(false);
  const [pressed, setPressed] = useState<string | null>(null);
  const early = useRef<Early[]>([]);
  const labels = state.session?.labels ?? [];

  const apply = useCallback(
    (command: Command) => {
      switch (command.kind) {
        case "decide":
          return work.update((state) => review.decide(state, command.label));
        case "skip":
          return work.update(review.skip);
        case "undo":
          return work.update(review.undo);
        case "dismiss":
          return work.update(review.dismiss);
        case "help":
          return setHelping((helping) => !helping);
        case "zoom":
          return setView((view) => zoomed(view, command.by));
        case "pan":
          return setView((view) => panned(view, command.x, command.y));
        case "reset-view":
          return setView((view) => ({ ...view, zoom: 1, x: 0, y: 0 }));
        case "reset-light":
          return setView((view) => ({ ...view, brightness: 1, contrast: 1 }));
        default:
          return setView((view) => bounded({ ...view, [command.kind]: view[command.kind] + command.by }));
      }
    },
    [work, setView],
  );

  /** Does what the keys said, one picture at a time, each when it is before the reader's eyes. */
  const pump = useCallback(() => {
    for (let next = early.current[0]; next; next = early.current[0]) {
      const state = work.read();
      const late = performance.now() - next.at > KEY_WAITS_MS;
      if (!late && review.arriving(state)) return;
      early.current.shift();
      // A key that was meant for a picture in sight, or is held down, does not decide on one that nobody has seen.
      const blind = review.unseen(state) && (next.repeated || next.on !== review.shown(state)?.key);
      if (!late && !blind) apply(next.command);
    }
  }, [apply, work]);

  const act = useCallback(
    (command: Command, repeated = false) => {
      if (command.kind !== "decide" && command.kind !== "skip") return apply(command);
      const state = work.read();
      const on = review.decidable(state) ? review.shown(state)?.key : undefined;
      early.current.push({ command, at: performance.now(), repeated, on });
      pump();
    },
    [apply, pump, work],
  );

  const onPainted = useCallback(
    (key: string) => {
      work.update((state) => review.painted(state, key));
      pump();
    },
    [work, pump],
  );

  const onSlow = useCallback((key: string) => work.update((state) => review.slow(state, key)), [work]);

  const onBroken = useCallback(
    async (held: review.Held) => {
      work.update((state) => review.image(state, held.key, "broken"));
      const problem = await api.whyBroken(held.picture);
      if (problem) work.update((state) => review.gone(state, held.picture.id, problem));
    },
    [work, api],
  );

  useEffect(() => {
    let timer: number;
    const onKey = (event: KeyboardEvent) => {
      const dialog = document.querySelector("dialog[open]");
      // Held down on a button it would press it again and again.
      if (event.repeat && event.key === "Enter" && review.unseen(work.read())) event.preventDefault();
      const slider = event.target instanceof HTMLInputElement && event.key.startsWith("Arrow");
      const command = slider ? null : commandFor(event, labels);
      if (!command || (dialog && command.kind !== "help")) return;
      // An open popover closes by Escape itself.
      if (command.kind === "dismiss" && document.querySelector(":popover-open")) return;
      event.preventDefault();
      act(command, event.repeat);
      if (command.kind !== "decide" && command.kind !== "skip" && command.kind !== "undo") return;
      setPressed(command.kind === "decide" ? `label ${command.label}` : command.kind);
      clearTimeout(timer);
      timer = window.setTimeout(() => setPressed(null), PRESSED_MS);
    };
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("keydown", onKey);
      clearTimeout(timer);
    };
  }, [act, labels, work]);

  const waiting = review.waiting(state);
  useEffect(() => {
    document.title = waiting ? `Review (${waiting})` : "Review";
  }, [waiting]);

  return (
    <main className="page" data-unsent={state.outbox.length}>
      <h1 className="spoken">Review</h1>
      <p className="spoken" role="status" aria-live="polite" aria-atomic="true">
        {state.spoken}
      </p>
      <Status state={state} view={view} setView={setView} onHelp={() => setHelping(true)} />
      <Viewer
        state={state}
        view={view}
        setView={setView}
        onReady={(key) => work.update((state) => review.image(state, key, "ready"))}
        onBroken={onBroken}
        onPainted={onPainted}
        onSlow={onSlow}
        onRetry={(key) => work.update((state) => review.reload(state, key))}
        onSkip={() => act({ kind: "skip" })}
        onHurry={work.hurry}
      />
      {state.session && <Panel state={state} labels={labels} pressed={pressed} act={act} />}
      <Messages state={state} onDismiss={() => work.update(review.dismiss)} onHurry={work.hurry} />
      <Help open={helping} labels={labels} onClose={() => setHelping(false)} />
    </main>
  );
}

/** The view, as it was set the last time. */
function useView(): [View, (change: (view: View) => View) => void] {
  const [view, setView] = useState(() => {
    try {
      return parsed(localStorage.getItem(VIEW));
    } catch {
      return PLAIN;
    }
  });
  useLayoutEffect(() => {
    try {
      localStorage.setItem(VIEW, JSON.stringify(view));
    } catch {
      // Storage is switched off or full: the view stays as set for as long as the page is open.
    }
  }, [view]);
  return [view, setView];
}
