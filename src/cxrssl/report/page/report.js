// What the whole page does: it keeps what was chosen, and prints what is folded. gallery.js follows it.
"use strict";

// What is folded on the screen is printed all the same.
function unfoldForPrint() {
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => (one.open = true));
  });
  window.addEventListener("afterprint", () => folded.forEach((one) => (one.open = false)));
}

// A page that loads itself again finds its controls as they were, and unfolded what was.
function keepChoices() {
  const inputs = [...document.querySelectorAll("#controls input, #controls select")];
  const folds = [...document.querySelectorAll("section details")];
  const keyOf = (one) => one.id || one.closest("section").id + (one.value ?? "");
  const valueOf = (one) => (one.type === "checkbox" ? one.checked : one.value);
  const kept = history.state ?? {};
  for (const input of inputs.filter((one) => keyOf(one) in kept)) {
    const value = kept[keyOf(input)];
    if (input.type === "checkbox") input.checked = value;
    // An arm may have gone from the page.
    else if (!input.options || [...input.options].some((one) => one.value === value)) input.value = value;
  }
  for (const fold of folds) fold.open ||= Boolean(kept[keyOf(fold)]);
  const keep = () => {
    const pairs = [...inputs.map((one) => [keyOf(one), valueOf(one)]), ...folds.map((one) => [keyOf(one), one.open])];
    history.replaceState(Object.fromEntries(pairs), "");
  };
  document.addEventListener("input", keep);
  document.addEventListener("toggle", keep, true);
  window.addEventListener("hashchange", keep);
}

unfoldForPrint();
keepChoices();
