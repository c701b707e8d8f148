// What the page does not need, and is nicer with: it fetches itself anew, and copies commands.
"use strict";

const SHORTEST = 5; // seconds between two refreshes

function showCopyButtons() {
  for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard: the command is selected, so that one keystroke copies it.
    getSelection().selectAllChildren(button.previousElementSibling);
    say("Selected. Copy it with your keyboard.");
    return;
  }
  button.textContent = "Copied";
  say("Copied.");
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function say(text) {
  document.getElementById("announcement").textContent = text;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});

// Whoever reads with a selection, or with the tab in the background, is left alone.
function busy() {
  return document.hidden || !getSelection().isCollapsed;
}

// The places of the things that can have the focus: it stays where it is, in what comes anew.
const focusable = () => [...document.querySelectorAll("#live a, #live button, #live summary")];

async function refresh(live) {
  let reply;
  try {
    reply = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
  } catch {
    return false;
  }
  if (!reply.ok) return false;
  const found = new DOMParser().parseFromString(await reply.text(), "text/html");
  const fresh = found.getElementById("live");
  if (!fresh || busy()) return Boolean(fresh);
  const place = focusable().indexOf(document.activeElement);
  if (fresh.dataset.summary !== live.dataset.summary) say(fresh.dataset.summary);
  document.title = found.title;
  live.replaceWith(fresh);
  showCopyButtons();
  if (place >= 0) focusable()[place]?.focus({ preventScroll: true });
  return true;
}

function tellThatItIsOld(live, since) {
  const told = document.getElementById("unreachable") ?? document.createElement("div");
  told.id = "unreachable";
  told.className = "banner act";
  told.setAttribute("role", "alert");
  told.textContent = `This page could not be refreshed since ${since.toISOString().slice(11, 19)} UTC. What it shows is from before.`;
  if (!told.isConnected) live.prepend(told);
}

function keepFresh() {
  const live = document.getElementById("live");
  if (!live) return;
  const pause = 1000 * Math.max(Number(live.dataset.interval) || 30, SHORTEST);
  let last = new Date();
  let running = false;
  const look = async () => {
    if (running || busy()) return;
    running = true;
    try {
      const current = document.getElementById("live");
      if (await refresh(current)) last = new Date();
      else tellThatItIsOld(document.getElementById("live"), last);
    } finally {
      running = false;
    }
  };
  setInterval(look, pause);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && Date.now() - last > pause) look();
  });
}

showCopyButtons();
keepFresh();
