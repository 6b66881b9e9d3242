import { defineConfig } from "vite";

export default defineConfig({
  build: {
    // The page's content security policy allows no data: address and no inline script: everything is a file.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: {
    // `npm run dev` beside a review app on its usual port.
    proxy: { "/api": "http://127.0.0.1:8080" },
  },
});
