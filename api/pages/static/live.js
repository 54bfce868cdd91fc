// Keeps the part of a page that shows what goes on up to date. Without this script the page stays as it was when it was read.
//
//   <div id="live" data-events="/events" data-hears="changed" hx-get="/" hx-trigger="news" hx-select="#live > *">
//
// Whenever one of the events that are named comes, htmx fetches the part anew. It listens only while the page is looked
// at: a browser has six connections to a server, for all its tabs together.
"use strict";
(() => {
  const LAST = ["end", "removed"]; // nothing follows these
  const AT_MOST_EVERY = 1000; // milliseconds
  let source = null;
  let isOver = false;
  let due = null;

  const part = () => document.querySelector("[data-events]"); // a filter may have put another into its place

  const tell = () => {
    due ??= setTimeout(() => {
      due = null;
      if (part()) htmx.trigger(part(), "news");
    }, AT_MOST_EVERY);
  };

  const listen = () => {
    if (document.hidden || isOver || !part()) {
      source?.close();
      source = null;
    } else if (source === null) {
      source = new EventSource(part().dataset.events);
      for (const name of part().dataset.hears.split(" ")) {
        source.addEventListener(name, () => {
          isOver ||= LAST.includes(name);
          if (isOver) listen();
          tell();
        });
      }
    }
  };

  document.addEventListener("DOMContentLoaded", listen);
  document.addEventListener("visibilitychange", listen);

  // What somebody has opened stays open when the part is fetched anew.
  let open = [];
  document.addEventListener("htmx:beforeSwap", () => {
    open = [...document.querySelectorAll("details[id][open]")].map((each) => each.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    listen();
  });

  // A field of a filter that is empty asks for nothing, and need not stand in the address.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.verb !== "get") return;
    for (const [name, value] of Object.entries(detail.parameters)) if (value === "") delete detail.parameters[name];
  });
})();
