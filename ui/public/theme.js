// Before the first paint, so that nothing flashes: the theme that was chosen, or the system's.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    let chosen = null;
    try { chosen = localStorage.getItem("herd.theme"); } catch { /* no storage: as the system has it */ }
    const theme = chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
  };
  set();
  dark.addEventListener("change", set);
  addEventListener("herd:theme", set);
})();
