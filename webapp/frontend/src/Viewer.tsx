import { type PointerEvent, type MouseEvent as ReactMouseEvent, useEffect, useRef } from "react";
import { type Held, type State, shown, UNSEEN, waiting } from "./review";
import { panned, type View, zoomed } from "./view";

const WHEEL_STEP = 0.0015;
const DOUBLE_CLICK_ZOOM = 3;

/** How long a picture may load before the reviewer is offered to go on without it. */
const SLOW_MS = 5000;

interface Props {
  state: State;
  view: View;
  setView: (change: (view: View) => View) => void;
  onReady: (key: string) => void;
  onBroken: (held: Held) => void;
  /** The picture, or that it cannot be shown, has been on the screen for a frame. */
  onPainted: (key: string) => void;
  onSlow: (key: string) => void;
  onRetry: (key: string) => void;
  onSkip: () => void;
  onHurry: () => void;
}

/** The viewer, which the picture fills: wheel, drag and pinch move the view. */
export function Viewer({
  state,
  view,
  setView,
  onReady,
  onBroken,
  onPainted,
  onSlow,
  onRetry,
  onSkip,
  onHurry,
}: Props) {
  const viewer = useRef<HTMLElement>(null);
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const held = shown(state);
  const visible = held?.image === "ready" && !held.expired;
  const key = visible ? held.key : null;
  const image = held?.expired ? undefined : held?.image;
  const first = held?.key;

  useEffect(() => {
    if (first === undefined || image === undefined) return;
    if (image === "loading") {
      const timer = setTimeout(() => onSlow(first), SLOW_MS);
      return () => clearTimeout(timer);
    }
    // A frame begins, and when the next begins that one has been on the screen.
    let frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(() => onPainted(first));
    });
    return () => cancelAnimationFrame(frame);
  }, [first, image, onPainted, onSlow]);

  useEffect(() => {
    const element = viewer.current;
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      const { x, y } = place(viewer.current, event);
      setView((view) => zoomed(view, Math.exp(-event.deltaY * WHEEL_STEP), x, y));
    };
    // React's own listener could not keep the browser from zooming the page.
    element?.addEventListener("wheel", onWheel, { passive: false });
    return () => element?.removeEventListener("wheel", onWheel);
  }, [setView]);

  const onDown = (event: PointerEvent) => {
    if (event.target instanceof Element && event.target.closest("button, a")) return;
    viewer.current?.setPointerCapture(event.pointerId);
    pointers.current.set(event.pointerId, place(viewer.current, event));
  };
  const onMove = (event: PointerEvent) => {
    const from = pointers.current.get(event.pointerId);
    if (!from) return;
    const to = place(viewer.current, event);
    pointers.current.set(event.pointerId, to);
    const other = [...pointers.current].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return setView((view) => panned(view, to.x - from.x, to.y - from.y));
    const by = distance(to, other) / Math.max(distance(from, other), 0.01);
    // Two fingers move the picture by half of what each of them moves.
    const middle = { x: (to.x + other.x) / 2, y: (to.y + other.y) / 2 };
    setView((view) => panned(zoomed(view, by, middle.x, middle.y), (to.x - from.x) / 2, (to.y - from.y) / 2));
  };
  const onUp = (event: PointerEvent) => pointers.current.delete(event.pointerId);

  // Those of pictures that undo can bring back stay on the page.
  const images = [...state.done.map(({ held }) => held), ...state.queue].filter(({ image }) => image !== "broken");
  return (
    <section
      className="viewer"
      aria-label="Picture"
      ref={viewer}
      data-zoomed={view.zoom > 1}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerCancel={onUp}
      onDoubleClick={(event) => {
        const { x, y } = place(viewer.current, event);
        setView((view) => zoomed(view, view.zoom > 1 ? 0 : DOUBLE_CLICK_ZOOM, x, y));
      }}
    >
      <div
        className="lens"
        style={{
          transform: `translate(${view.x * 100}%, ${view.y * 100}%) scale(${view.zoom})`,
          filter: `brightness(${view.brightness}) contrast(${view.contrast})`,
        }}
      >
        {images.map((each) => (
          <img
            key={each.key}
            src={each.src}
            alt={each.key === key ? alt(each) : ""}
            aria-hidden={each.key !== key}
            data-shown={each.key === key}
            draggable={false}
            decoding="sync"
            onLoad={(event) => void ready(event.currentTarget, () => onReady(each.key))}
            onError={() => onBroken(each)}
          />
        ))}
      </div>
      <Situation state={state} held={held} onRetry={onRetry} onSkip={onSkip} onHurry={onHurry} />
    </section>
  );
}

/** Where a pointer is, from the viewer's middle, in widths and heights of the viewer. */
function place(viewer: Element | null, { clientX, clientY }: MouseEvent | PointerEvent | ReactMouseEvent) {
  const box = viewer?.getBoundingClientRect() ?? new DOMRect(0, 0, 1, 1);
  return { x: (clientX - box.x) / box.width - 0.5, y: (clientY - box.y) / box.height - 0.5 };
}

/** Waits until the picture is decoded, so that nothing is left to do when its turn comes. */
async function ready(image: HTMLImageElement, then: () => void): Promise<void> {
  // A small picture is shown by its pixels: smoothed, a faint scratch is gone. A large one would lose some of them.
  const scale = Math.min(image.width / image.naturalWidth, image.height / image.naturalHeight);
  image.dataset.pixels = String(scale >= 1.5);
  await image.decode().catch(() => {});
  then();
}

const distance = (a: { x: number; y: number }, b: { x: number; y: number }) => Math.hypot(a.x - b.x, a.y - b.y);

const alt = ({ picture: { name, label } }: Held) =>
  label ? `${name}, for the model most likely ${label}` : `${name}, without an answer of the model`;

/** What the viewer says where it cannot show a picture. */
function Situation({
  state,
  held,
  onRetry,
  onSkip,
  onHurry,
}: Pick<Props, "state" | "onRetry" | "onSkip" | "onHurry"> & { held: Held | undefined }) {
  const { link, outbox } = state;
  if (link.kind === "refused")
    return (
      <div className="state">
        <h2>You are not signed in for this</h2>
        <p>{link.why}</p>
        {outbox.length > 0 && <p>{unsent(outbox.length)} They are sent when you are back.</p>}
        <div>
          <button type="button" onClick={() => location.reload()}>
            Reload the page
          </button>
        </div>
      </div>
    );
  if (held?.expired)
    return (
      <div className="state">
        <h2>Your hold on this picture has run out</h2>
        <p>
          It was kept for you until {new Date(held.until).toLocaleTimeString([], { timeStyle: "short" })}. Another
          reviewer may have it by now; that is being checked, and you can go on as soon as it is known.
        </p>
        <div>
          <button type="button" onClick={onHurry}>
            Check now
          </button>
        </div>
      </div>
    );
  if (held?.image === "broken" || held?.image === "slow")
    return (
      <div className="state">
        <h2>{UNSEEN[held.image]}</h2>
        <p>{held.picture.name}</p>
        <p>
          {held.image === "broken" && "The browser does not show its format, or it did not load. "}
          You can decide as usual, and look at the file in another program.
        </p>
        <div>
          <button type="button" onClick={() => onRetry(held.key)}>
            Try again
          </button>
          <a className="button" href={`${held.picture.image_url}?download=true`} download>
            Download the file
          </a>
          <button type="button" onClick={onSkip}>
            Skip it <kbd>S</kbd>
          </button>
        </div>
      </div>
    );
  if (held) return held.image === "loading" ? <Wait text="Loading the picture" /> : null;
  if (link.kind === "lost" || link.kind === "failing")
    return (
      <div className="state">
        <h2>{state.session ? "No more pictures on this machine" : "The review app does not answer"}</h2>
        <p>{link.why} It is tried again by itself.</p>
        <div>
          <button type="button" onClick={onHurry}>
            Try now
          </button>
        </div>
      </div>
    );
  if (!state.session || !state.exhausted) return <Wait text="Looking for pictures" />;
  const { passedOver } = state;
  const others = waiting(state) > passedOver;
  return (
    <div className="state">
      <h2>
        {others
          ? "Your colleagues have the rest"
          : passedOver
            ? "Nothing can be reserved for you"
            : "Nothing waits for you"}
      </h2>
      {others && <p>Every picture that waits is on somebody else's screen now. What they leave comes to you.</p>}
      {passedOver > 0 && (
        <p>
          The storage refuses to reserve {passedOver === 1 ? "1 picture" : `${passedOver} pictures`}. The review app's
          log has the reason, for whoever runs this line.
        </p>
      )}
      {!others && !passedOver && <p>Every picture has been decided on. New ones appear here by themselves.</p>}
      <div>
        <button type="button" onClick={onHurry}>
          Look now
        </button>
      </div>
    </div>
  );
}

const Wait = ({ text }: { text: string }) => (
  <div className="state waits">
    <p>{text} …</p>
  </div>
);

export const unsent = (count: number): string =>
  count === 1 ? "1 decision is kept on this machine." : `${count} decisions are kept on this machine.`;
