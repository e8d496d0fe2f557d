"use strict";
// Only what a page does not do by itself: results while one types, and figures that stay fresh.
(() => {
  const part = document.getElementById("part");
  let latest = 0;

  const show = async (url) => {
    const mine = ++latest;
    const answer = await fetch(url, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // A later question may have been answered before.
    if (mine === latest) part.replaceChildren(...page.body.childNodes);
  };

  const field = document.querySelector("input[data-part]");
  if (field) {
    let waiting;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const words = new URLSearchParams({ q: field.value });
        history.replaceState(null, "", field.value ? "/search?" + words : "/");
        show(field.dataset.part + "?" + words + "&part=1").catch(() => {});
      }, 150);
    });
  }

  const pause = document.getElementById("pause");
  if (part && part.dataset.live && pause) {
    let running = true;
    pause.hidden = false;
    pause.addEventListener("click", () => {
      running = !running;
      pause.textContent = running ? "Pause" : "Go on";
    });
    setInterval(() => {
      // Nothing is replaced under somebody's keyboard.
      if (running && !document.hidden && !part.contains(document.activeElement)) {
        show(part.dataset.live + "?part=1").catch(() => {});
      }
    }, 5000);
  }
})();
