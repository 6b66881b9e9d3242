import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Api } from "./api";
import { Page } from "./Page";
import * as storage from "./storage";
import "./styles.css";
import { Work } from "./work";

const EXPIRY_CHECK_MS = 5000;

const api = new Api();
const work = new Work(api, storage);

addEventListener("pagehide", work.leave);
// A page out of the browser's memory has let go of its pictures.
addEventListener("pageshow", (event) => event.persisted && location.reload());
addEventListener("online", work.hurry);
document.addEventListener("visibilitychange", () => {
  work.wake();
  if (!document.hidden) work.hurry();
});
setInterval(work.wake, EXPIRY_CHECK_MS);
void work.run();

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <Page work={work} api={api} />
    </StrictMode>,
  );
