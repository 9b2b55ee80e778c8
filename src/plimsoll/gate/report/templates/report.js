(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const stories = all(".story");
  const filter = document.getElementById("filter");
  const tip = document.getElementById("tip");

  function show(numbers, label) {
    for (const story of stories) {
      const wanted = !numbers || numbers.includes(story.dataset.number);
      story.hidden = !wanted;
      if (numbers && wanted) story.open = true;
    }
    if (!filter) return;
    filter.hidden = !numbers;
    filter.firstElementChild.textContent = numbers ? `${numbers.length} of ${stories.length}: ${label}` : "";
  }

  function reveal() {
    const target = location.hash.startsWith("#failure-") && document.getElementById(location.hash.slice(1));
    if (!target) return;
    if (target.hidden) show(null);
    target.open = true;
    target.scrollIntoView();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-stories]");
    if (link) {
      event.preventDefault();
      show(link.dataset.stories.split(" "), link.dataset.label);
      document.getElementById("failures").scrollIntoView();
      const first = stories.find((story) => !story.hidden);
      if (first) first.querySelector("summary").focus({ preventScroll: true });
    }
    const copy = event.target.closest(".copy");
    if (copy) {
      const code = copy.previousElementSibling;
      getSelection().selectAllChildren(code);
      navigator.clipboard.writeText(code.textContent).then(
        () => { copy.textContent = "Copied"; },
        () => { copy.textContent = "Selected"; },
      );
    }
  });

  if (filter) filter.querySelector("button").addEventListener("click", () => show(null));
  if (navigator.clipboard) for (const button of all(".copy")) button.hidden = false;
  addEventListener("hashchange", reveal);
  reveal();

  function place(target) {
    const box = target.getBoundingClientRect();
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  }
  const hide = () => { tip.hidden = true; };
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const target = event.target.closest("[data-tip]");
      if (target) place(target); else hide();
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", hide, { capture: true, passive: true });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = stories.filter((story) => !story.open);
    for (const story of closed) story.open = true;
  });
  addEventListener("afterprint", () => { for (const story of closed) story.open = false; });
})();
