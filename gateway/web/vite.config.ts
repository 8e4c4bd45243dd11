import { resolve } from "node:path";
import vue from "@vitejs/plugin-vue";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => resolve(import.meta.dirname, path);

/** Vant's style sheet brings its icon font as a data: address beside one of a third party; the policy of our pages
 * allows neither. The same font lies here as a file. */
function ownIconFont(): Plugin {
  return {
    name: "own-icon-font",
    enforce: "pre",
    transform(code, id) {
      if (!/vant\/es\/icon\/index\.css/.test(id)) return null;
      const faces = code.match(/@font-face\{[^}]*\}/g) ?? [];
      if (faces.length !== 1) throw new Error(`${id}: ${faces.length} icon fonts, one was expected`);
      const face =
        '@font-face{font-family:vant-icon;font-display:block;src:url("/src/look/vant-icon.woff2") format("woff2")}';
      return { code: code.replace(faces[0]!, face), map: null };
    },
  };
}

export default defineConfig({
  root: here("."),
  base: "/",
  publicDir: false,
  plugins: [
    ownIconFont(),
    vue({
      // Vue would turn large static parts into one string of markup and lose what the policy forbids in it.
      template: { compilerOptions: { hoistStatic: false, whitespace: "condense" } },
    }),
  ],
  define: {
    __VUE_OPTIONS_API__: "false",
    __VUE_PROD_DEVTOOLS__: "false",
    __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false",
  },
  build: {
    outDir: here("../built"),
    emptyOutDir: true,
    assetsDir: "assets",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: ["es2020", "chrome87", "safari14"],
    cssTarget: ["chrome87", "safari14"],
    sourcemap: false,
    reportCompressedSize: true,
    license: { fileName: "licences.md" },
    rollupOptions: {
      input: { customer: here("customer.html"), sales: here("sales.html"), staff: here("staff.html") },
    },
  },
});
