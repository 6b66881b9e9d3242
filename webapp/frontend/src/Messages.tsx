import type { State } from "./review";
import { unsent } from "./Viewer";

/** What the reviewer should know without being kept from the next picture. */
export function Messages({ state, onDismiss, onHurry }: { state: State; onDismiss: () => void; onHurry: () => void }) {
  const { link, notices, outbox, session } = state;
  return (
    <div className="messages">
      {session && (link.kind === "lost" || link.kind === "failing") && (
        <div className="message" role="alert">
          <p>
            <strong>{link.kind === "lost" ? "No connection." : link.why}</strong>{" "}
            {outbox.length > 0 ? `${unsent(outbox.length)} ` : ""}
            You can go on: it is sent as soon as the server answers.
          </p>
          <button type="button" onClick={onHurry}>
            Try now
          </button>
        </div>
      )}
      {notices.length > 0 && (
        <div className="message">
          {notices.map((text) => (
            <p key={text}>{text}</p>
          ))}
          <button type="button" onClick={onDismiss}>
            Understood <kbd>Esc</kbd>
          </button>
        </div>
      )}
    </div>
  );
}
