import { useEffect, useRef } from "react";

const KEYS: [keys: string[], what: string][] = [
  [["S"], "Skip: the picture comes again at the end"],
  [["U", "Z"], "Undo, up to ten times"],
  [["+", "−"], "Zoom; also wheel or two fingers"],
  [["←", "↑", "↓", "→"], "Move the zoomed picture; also drag"],
  [["0"], "The whole picture"],
  [["B", "⇧ B"], "Brighter, darker"],
  [["C", "⇧ C"], "More contrast, less"],
  [["R"], "Light as the camera took it"],
  [["Esc"], "Close a message"],
  [["?"], "This help"],
];

export function Help({ open, labels, onClose }: { open: boolean; labels: readonly string[]; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog className="sheet" ref={dialog} onClose={onClose} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl className="keys">
        {labels.map((label, index) => (
          <div key={label}>
            <dt>
              <kbd>{index + 1}</kbd>
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
        {KEYS.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={onClose}>
        Close
      </button>
    </dialog>
  );
}
