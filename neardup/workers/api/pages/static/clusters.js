// The cluster page: keys, and a closer look at a copy beside its original.

import { byId, isTyping, shortcuts } from "/static/lib.js";
import { Pair } from "/static/pair.js";

const data = byId("data") ? JSON.parse(byId("data").textContent) : {};
const members = [...document.querySelectorAll(".member")];
const pair = byId("pair") && new Pair(byId("pair"));

for (const member of members) {
  member.querySelector("[data-compare]").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { item, match } = data[member.dataset.id];
    byId("look").showModal();
    pair.show({ item }, match);
  });
}

const current = () => members.findIndex((member) => member.contains(document.activeElement));
const go = (step) => {
  const to = current() < 0 ? 0 : Math.min(Math.max(current() + step, 0), members.length - 1);
  members[to]?.querySelector("[data-compare]").focus();
};
const edit = (name) => members[current()]?.querySelector(`[data-edit="${name}"]`)?.click();
const LIST = { j: () => go(1), k: () => go(-1), x: () => edit("split"), o: () => edit("head") };
const LOOK = { 1: () => pair.setView("side"), 2: () => pair.setView("slider"), 3: () => pair.setView("difference"), 4: () => pair.setView("proof"), b: () => pair.blink(), f: () => pair.flip() };

addEventListener("keydown", (event) => {
  if (isTyping(event) || event.repeat || !shortcuts()) return;
  const act = (byId("look")?.open ? LOOK : LIST)[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
// An edit made by key leaves the place: the next copy is where one goes on, unless one is somewhere already.
if (byId("done") && members.length && document.activeElement === document.body) members[0].querySelector("[data-compare]").focus({ preventScroll: true });
