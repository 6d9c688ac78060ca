// A click on a column's head sorts its table: numbers by their value, texts by the alphabet, absent values last.
document.querySelectorAll("table.sorts th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    head.parentElement.querySelectorAll("th").forEach((th) => th.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  });
});

// A chip shows the rows of its verdict alone, and all of these; a second click shows every row again.
document.querySelectorAll(".chips button").forEach((chip) => {
  chip.addEventListener("click", () => {
    const on = chip.getAttribute("aria-pressed") !== "true";
    chip.closest(".chips").querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", "false"));
    chip.setAttribute("aria-pressed", String(on));
    const table = document.querySelector("#verdicts table.sorts");
    table.classList.toggle("filtered", on);
    [...table.tBodies[0].rows].forEach((row) => {
      row.hidden = on && row.querySelector("[data-verdict]").dataset.verdict !== chip.dataset.verdict;
    });
  });
});
