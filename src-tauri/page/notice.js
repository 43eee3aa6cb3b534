// Shows what the tray says: {"title": …, "lines": […]} behind the # of this page's address, as text and never as markup.
function show() {
  let notice = {};
  try {
    notice = JSON.parse(new URLSearchParams(location.hash.slice(1)).get("n") || "{}");
  } catch {
    // Nothing to show but the mark.
  }
  document.getElementById("title").textContent = notice.title || "Herd";
  document.getElementById("lines").replaceChildren(
    ...(notice.lines || []).map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }),
  );
}
addEventListener("hashchange", show);
show();
