import solid from "vite-plugin-solid";
import { defineConfig } from "vitest/config";

// The plug-in passes it on to the compiler, its types do not know it yet.
const withoutInlineStyles = { inlineStyles: false } as object;

// Names stay the same from build to build: the files are committed, and the door tells versions apart by their tags.
export default defineConfig({
  base: "/dashboard/",
  // Styles in the markup would break the page's Content-Security-Policy.
  plugins: [solid({ solid: withoutInlineStyles })],
  build: {
    target: "es2022",
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    modulePreload: false,
    rollupOptions: {
      output: {
        entryFileNames: "assets/app.js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/app[extname]",
      },
    },
  },
  server: { proxy: { "/dashboard/api": "http://127.0.0.1:11435", "/fleet": "http://127.0.0.1:11435", "/api": "http://127.0.0.1:11435" } },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
  resolve: { conditions: ["browser", "module", "import", "default"] },
});
