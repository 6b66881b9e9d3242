import type { Command } from "./keys";
import { decidable, percent, type State, shown, waiting } from "./review";
import { bounded, LIGHT, type View, zoomed } from "./view";

interface StatusProps {
  state: State;
  view: View;
  setView: (change: (view: View) => View) => void;
  onHelp: () => void;
}

/** The counts, and the tools that are not needed for each picture. */
export function Status({ state, view, setView, onHelp }: StatusProps) {
  const { session, decided } = state;
  const count = new Intl.NumberFormat(undefined, { useGrouping: true });
  const changed = view.brightness !== 1 || view.contrast !== 1 || view.zoom !== 1;
  return (
    <header className="status">
      {session && (
        <dl className="counts numbers">
          <div>
            <dt>decided</dt>
            <dd data-testid="decided">{count.format(decided)}</dd>
          </div>
          <div>
            <dt>waiting</dt>
            <dd data-testid="waiting">
              {count.format(waiting(state))}
              {state.waiting?.exact === false && "+"}
            </dd>
          </div>
        </dl>
      )}
      <button
        type="button"
        className="tool"
        popoverTarget="view"
        aria-label="Zoom, brightness and contrast"
        title="View"
        data-changed={changed}
      >
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d="M4 7h9m5 0h2M4 17h3m5 0h8" />
          <circle cx="15.5" cy="7" r="2.5" />
          <circle cx="9.5" cy="17" r="2.5" />
        </svg>
      </button>
      <button type="button" className="tool" onClick={onHelp} aria-label="Help and keys" title="Help (?)">
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <circle cx="12" cy="12" r="9" />
          <path d="M9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1 1-1.1 1.8M12 16.5v.1" />
        </svg>
      </button>
      <section className="sheet" id="view" popover="auto" aria-label="View">
        <div className="zoom">
          <button type="button" onClick={() => setView((view) => zoomed(view, 1 / 1.25))} aria-label="Zoom out">
            −
          </button>
          <output className="numbers">{Math.round(view.zoom * 100)} %</output>
          <button type="button" onClick={() => setView((view) => zoomed(view, 1.25))} aria-label="Zoom in">
            +
          </button>
        </div>
        {(["brightness", "contrast"] as const).map((light) => (
          <label className="slider" key={light}>
            <span>{light === "brightness" ? "Brightness" : "Contrast"}</span>
            <span className="numbers quiet">{Math.round(view[light] * 100)} %</span>
            <input
              type="range"
              min={LIGHT.min}
              max={LIGHT.max}
              step={0.05}
              value={view[light]}
              onChange={(event) => {
                const value = event.target.valueAsNumber;
                setView((view) => bounded({ ...view, [light]: value }));
              }}
            />
          </label>
        ))}
        <button
          type="button"
          onClick={() => setView(() => ({ zoom: 1, x: 0, y: 0, brightness: 1, contrast: 1 }))}
          aria-disabled={!changed}
        >
          Back to the plain picture
        </button>
        <p className="quiet">It stays as set for the next pictures.</p>
      </section>
    </header>
  );
}

interface PanelProps {
  state: State;
  labels: readonly string[];
  /** What has just been done by a key. */
  pressed: string | null;
  act: (command: Command) => void;
}

/** What the model thinks, and what a person can say. */
export function Panel({ state, labels, pressed, act }: PanelProps) {
  const picture = shown(state)?.picture;
  const able = decidable(state);
  const last = state.done.at(-1);
  return (
    <>
      <section className="caption" aria-label="The model's answer">
        {picture && (
          <>
            <p className="says quiet">The model says</p>
            <p className="guess">
              <span>{picture.label ?? "No answer"}</span>
              <span className="numbers">{percent(picture.score)}</span>
            </p>
            {picture.score !== null && (
              <meter className="score" value={picture.score} aria-label="Score of the model's label" />
            )}
            <p className="name quiet">{picture.name}</p>
            {picture.model && (
              <p className="model name quiet" title={picture.model}>
                Model {picture.model.split("/").at(-1)}
              </p>
            )}
          </>
        )}
      </section>
      <section className="labels" aria-label="Decide" data-many={labels.length > 5} data-count={labels.length}>
        {labels.map((label, index) => (
          <button
            type="button"
            className="label"
            key={label}
            aria-disabled={!able}
            aria-keyshortcuts={String(index + 1)}
            data-pressed={pressed === `label ${label}`}
            data-guess={picture?.label === label}
            onClick={() => act({ kind: "decide", label })}
          >
            <kbd>{index + 1}</kbd>
            <span>{label}</span>
            {picture?.label === label && <small>model</small>}
          </button>
        ))}
      </section>
      <div className="actions">
        <button
          type="button"
          aria-disabled={!last}
          aria-keyshortcuts="U"
          data-pressed={pressed === "undo"}
          onClick={() => act({ kind: "undo" })}
        >
          <kbd>U</kbd> Undo
        </button>
        <button
          type="button"
          aria-disabled={!able}
          aria-keyshortcuts="S"
          data-pressed={pressed === "skip"}
          onClick={() => act({ kind: "skip" })}
        >
          <kbd>S</kbd> Skip
        </button>
      </div>
      <footer className="last quiet">
        {last && (
          <p>
            Last: {last.held.picture.name} → {last.action.kind === "decide" ? last.action.label : "skipped"}
          </p>
        )}
        <p>{state.session?.reviewer}</p>
      </footer>
    </>
  );
}
