"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const mails = data.mails;
  const get = (id) => document.getElementById(id);
  const plane = get("plane"), tip = get("tip"), panel = get("panel"), legend = get("legend");
  const found = get("found"), hits = get("hits"), find = get("find"), colour = get("colour");
  const X = 0, Y = 1, DAY = 5, ID = 6, SUBJECT = 7, AUTHOR = 8, TEXT = 9, NEAR = 10;
  // Told apart by those who do not see all colours, too (after Okabe and Ito), on light and dark.
  const colours = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a6d00", "#7a5bd0", "#3f9b0b", "#c2185b", "#00838f", "#a1663a"];
  const grey = "#8a9099";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let scale = 1, left = 0, top = 0, chosen = -1, at = -1, wanted = null, waiting = false;
  const subject = (n) => mails[n][SUBJECT] || "(no subject)";
  const line = (n) => `${mails[n][AUTHOR]}, ${mails[n][DAY]}`;
  const side = () => Math.min(plane.clientWidth, plane.clientHeight);
  const screenX = (n) => (plane.clientWidth - side()) / 2 + (mails[n][X] / 9999 - left) * side() * scale;
  const screenY = (n) => (plane.clientHeight - side()) / 2 + (mails[n][Y] / 9999 - top) * side() * scale;
  const tint = (n) => {
    const kind = Number(colour.value), value = mails[n][kind];
    return kind === 4 ? colours[value % colours.length] : colours[value] || grey;
  };

  function draw() {
    waiting = false;
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.round(plane.clientWidth * ratio), high = Math.round(plane.clientHeight * ratio);
    if (plane.width !== wide || plane.height !== high) { plane.width = wide; plane.height = high; }
    const pen = plane.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const radius = Math.max(1.1, Math.min(5, 60 / Math.sqrt(mails.length)) * Math.sqrt(scale));
    const dot = (n, size) => { pen.beginPath(); pen.arc(screenX(n), screenY(n), size, 0, 7); pen.fill(); };
    for (let n = 0; n < mails.length; n++) {
      const x = screenX(n), y = screenY(n);
      if (x < -9 || y < -9 || x > plane.clientWidth + 9 || y > plane.clientHeight + 9) continue;
      pen.fillStyle = tint(n);
      pen.globalAlpha = wanted && !wanted.has(n) ? 0.08 : 0.75;
      dot(n, radius);
    }
    pen.globalAlpha = 1;
    const ink = dark.matches ? "#ffffff" : "#000000";
    pen.strokeStyle = ink;
    if (chosen >= 0) {
      pen.lineWidth = 1;
      for (const near of mails[chosen][NEAR]) {
        pen.beginPath(); pen.moveTo(screenX(chosen), screenY(chosen)); pen.lineTo(screenX(near), screenY(near)); pen.stroke();
      }
    }
    for (const [n, size] of [[chosen, 6], [at, 9]]) {
      if (n < 0) continue;
      pen.fillStyle = tint(n); dot(n, radius + 2);
      pen.lineWidth = 2; pen.beginPath(); pen.arc(screenX(n), screenY(n), size, 0, 7); pen.stroke();
    }
  }
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

  function nearest(x, y, most) {
    let best = -1, least = most * most;
    for (let n = 0; n < mails.length; n++) {
      const dx = screenX(n) - x, dy = screenY(n) - y, square = dx * dx + dy * dy;
      if (square < least) { least = square; best = n; }
    }
    return best;
  }
  function element(name, text, parent) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }
  function button(n, parent) {
    const made = element("button", subject(n), parent);
    made.type = "button"; made.className = "mail"; made.dataset.mail = n;
    const by = element("span", " " + line(n), parent);
    by.className = "by";
  }
  function open(n, scroll) {
    const held = panel.contains(document.activeElement);
    chosen = at = n;
    panel.replaceChildren();
    element("h3", subject(n), panel);
    element("p", line(n), panel).className = "by";
    if (mails[n][TEXT]) element("p", mails[n][TEXT], panel);
    const how = element("p", undefined, panel);
    element("code", "cmr-mail show " + mails[n][ID], how);
    if (mails[n][NEAR].length) {
      element("p", "Nearest:", panel);
      const list = element("ul", undefined, panel);
      for (const near of mails[n][NEAR]) button(near, element("li", undefined, list));
    }
    const x = screenX(n), y = screenY(n);
    if (x < 0 || y < 0 || x > plane.clientWidth || y > plane.clientHeight) {
      left = mails[n][X] / 9999 - 0.5 / scale; top = mails[n][Y] / 9999 - 0.5 / scale;
    }
    if (scroll) get("map").scrollIntoView();
    // What was chosen in the panel is gone with it, and what was chosen further down is read here.
    if (scroll || held) panel.focus({ preventScroll: true });
    redraw();
  }
  function hint(n) {
    tip.hidden = n < 0;
    if (n < 0) return;
    tip.textContent = subject(n) + " · " + line(n);
    const x = Math.min(screenX(n) + 12, plane.clientWidth - 180), y = screenY(n) + 12;
    tip.style.left = Math.max(0, x) + "px"; tip.style.top = y + "px";
  }
  function zoom(by, x, y) {
    const next = Math.min(60, Math.max(1, scale * by));
    const px = (x - (plane.clientWidth - side()) / 2) / side(), py = (y - (plane.clientHeight - side()) / 2) / side();
    left += px / scale - px / next; top += py / scale - py / next; scale = next;
    if (scale === 1) { left = 0; top = 0; }
    tip.hidden = true; grip(); redraw();
  }
  // The whole map lets the page be scrolled by a finger on it; a part of it is moved itself.
  const grip = () => { plane.style.touchAction = scale > 1 ? "none" : ""; };
  const middle = (by) => zoom(by, plane.clientWidth / 2, plane.clientHeight / 2);

  function explain() {
    const kind = Number(colour.value);
    const names = kind === 2 ? data.folders : kind === 3 ? data.authors : [];
    legend.replaceChildren();
    const entry = (fill, text) => {
      const item = element("li", undefined, legend);
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 10 10"); svg.setAttribute("aria-hidden", "true");
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [key, value] of [["cx", 5], ["cy", 5], ["r", 5], ["fill", fill]]) circle.setAttribute(key, value);
      svg.append(circle); item.append(svg, text);
    };
    names.forEach((name, n) => entry(colours[n], name));
    if (names.length === colours.length) entry(grey, "others");
    if (kind === 4) element("li", "Each group has a colour; there are more groups than colours.", legend);
  }
  function search() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits.replaceChildren();
    wanted = words.length ? new Set() : null;
    if (wanted) {
      mails.forEach((mail, n) => {
        const text = (mail[SUBJECT] + " " + mail[AUTHOR] + " " + mail[TEXT]).toLowerCase();
        if (words.every((word) => text.includes(word))) wanted.add(n);
      });
      for (const n of [...wanted].slice(0, 25)) button(n, element("li", undefined, hits));
    }
    found.textContent = wanted ? `${wanted.size} found` : "";
    redraw();
  }

  const touches = new Map();
  let moved = 0, apart = 0;
  const spot = (event) => { const box = plane.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  plane.addEventListener("pointerdown", (event) => { plane.setPointerCapture(event.pointerId); touches.set(event.pointerId, spot(event)); moved = 0; apart = 0; });
  plane.addEventListener("pointermove", (event) => {
    const [x, y] = spot(event), before = touches.get(event.pointerId);
    if (!before) { const n = nearest(x, y, 14); at = n >= 0 ? n : at; hint(n); redraw(); return; }
    touches.set(event.pointerId, [x, y]);
    moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    if (touches.size === 2) {
      const [a, b] = [...touches.values()], now = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (apart) zoom(now / apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      apart = now;
    } else if (scale > 1) {
      left -= (x - before[0]) / side() / scale; top -= (y - before[1]) / side() / scale; tip.hidden = true; redraw();
    }
  });
  const release = (event) => {
    const [x, y] = spot(event);
    if (touches.size === 1 && moved < 6 && event.type === "pointerup") { const n = nearest(x, y, event.pointerType === "touch" ? 28 : 14); if (n >= 0) { open(n); hint(n); } }
    touches.delete(event.pointerId);
  };
  plane.addEventListener("pointerup", release);
  plane.addEventListener("pointercancel", release);
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });
  plane.addEventListener("wheel", (event) => { if (scale === 1 && event.deltaY > 0) return; event.preventDefault(); const [x, y] = spot(event); zoom(event.deltaY < 0 ? 1.25 : 0.8, x, y); }, { passive: false });
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      event.preventDefault();
      if (at < 0) at = nearest(plane.clientWidth / 2, plane.clientHeight / 2, 1e6);
      let best = at, least = Infinity;
      for (let n = 0; n < mails.length; n++) {
        const dx = screenX(n) - screenX(at), dy = screenY(n) - screenY(at);
        const along = dx * way[0] + dy * way[1], across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
        if (n !== at && along > 0.5 && across <= along && along + 2 * across < least) { least = along + 2 * across; best = n; }
      }
      at = best; hint(at); plane.setAttribute("aria-label", `${subject(at)}, ${line(at)}. Enter opens it.`); redraw();
    } else if ((event.key === "Enter" || event.key === " ") && at >= 0) { event.preventDefault(); open(at); }
    else if (event.key === "+" || event.key === "=") middle(1.5);
    else if (event.key === "-") middle(1 / 1.5);
    else if (event.key === "Escape") { tip.hidden = true; }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".mail");
    if (link) open(Number(link.dataset.mail), !link.closest("#map"));
  });
  get("nearer").addEventListener("click", () => middle(1.5));
  get("farther").addEventListener("click", () => middle(1 / 1.5));
  get("whole").addEventListener("click", () => { scale = 1; left = 0; top = 0; grip(); redraw(); });
  colour.addEventListener("change", () => { explain(); redraw(); });
  find.addEventListener("input", search);
  window.addEventListener("resize", redraw);
  dark.addEventListener("change", redraw);
  if (data.folders.length < 2) colour.value = data.authors.length > 1 ? "3" : "4";
  explain();
  redraw();
})();
