"use strict";
const main = document.querySelector("main"), said = document.querySelector("#link");
let tag = "";
async function look() {
  try {
    const answer = await fetch("body?since=" + tag, { cache: "no-store" });
    if (answer.status === 200) {
      const open = new Set([...main.querySelectorAll("details[open]")].map((each) => each.id));
      const focus = document.activeElement ? document.activeElement.id : "";
      const scrolled = new Map([...main.querySelectorAll(".scroll")].map((each) => [each.id, each.scrollLeft]));
      tag = answer.headers.get("X-Tag");
      main.innerHTML = await answer.text();
      for (const each of main.querySelectorAll("details")) each.open = open.has(each.id);
      for (const each of main.querySelectorAll(".scroll")) each.scrollLeft = scrolled.get(each.id) || 0;
      if (focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
    }
    if (answer.status > 299) throw new Error();
    said.textContent = "";
  } catch {
    said.textContent = "neuroport watch has ended; this is what it showed last.";
  }
  setTimeout(look, EVERY);
}
look();
