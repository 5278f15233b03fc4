"use strict";
// Sorts tables by a click on the head of a column, and shows long ones a page at a time: rows that
// are not shown are not in the document, so that ten thousand cost nothing.
(() => {
  const PAGE = 250;
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const storage = (() => {
    try {
      window.sessionStorage.getItem("");
      return window.sessionStorage;
    } catch {
      return { getItem: () => null, setItem: () => {} }; // a browser that keeps nothing for files
    }
  })();

  class Sortable {
    constructor(table) {
      this.body = table.tBodies[0];
      this.heads = [...table.tHead.rows[0].cells];
      this.numeric = this.heads.map((head) => head.dataset.type === "number");
      this.rows = [...this.body.rows];
      this.fixed = this.rows.filter((row) => row.classList.contains("total"));
      this.rows = this.rows.filter((row) => !row.classList.contains("total"));
      this.shown = this.rows;
      this.keys = new Map();
      this.first = 0;
      this.memory = `phs_mpi ${table.getAttribute("aria-label")}`;
      this.heads.forEach((head, k) => {
        head.setAttribute("aria-sort", "none");
        head.querySelector("button").addEventListener("click", () => this.click(k));
      });
      if (this.rows.length > 20) this.addTools(table.parentElement);
      const [column, order] = (storage.getItem(this.memory) || "").split(" ");
      if (order && this.heads[column]) this.sort(Number(column), order);
      else this.render();
    }

    addTools(place) {
      const tools = document.createElement("div");
      tools.className = "tools";
      this.filter = document.createElement("input");
      this.filter.type = "search";
      this.filter.placeholder = "only rows with …";
      this.filter.setAttribute("aria-label", "only rows with this text");
      this.filter.addEventListener("input", () => this.select());
      this.back = document.createElement("button");
      this.back.textContent = "back";
      this.next = document.createElement("button");
      this.next.textContent = "next";
      for (const [button, step] of [[this.back, -PAGE], [this.next, PAGE]]) {
        button.type = "button";
        button.addEventListener("click", () => {
          this.first += step;
          this.render();
        });
      }
      this.where = document.createElement("span");
      this.where.setAttribute("role", "status");
      tools.append(this.filter, this.back, this.next, this.where);
      place.before(tools);
    }

    // What the rows are sorted by; a missing value is NaN or "".
    keysOf(k) {
      if (!this.keys.has(k)) {
        const keys = new Map();
        for (const row of this.rows) {
          const cell = row.cells[k];
          const text = cell.dataset.v ?? cell.title ?? "";
          const value = text || cell.textContent.trim();
          keys.set(row, this.numeric[k] ? number(value) : value);
        }
        this.keys.set(k, keys);
      }
      return this.keys.get(k);
    }

    click(k) {
      const rising = this.heads[k].getAttribute("aria-sort") === "ascending";
      this.sort(k, rising ? "descending" : "ascending");
    }

    sort(k, order) {
      const keys = this.keysOf(k);
      const missing = (key) => (this.numeric[k] ? Number.isNaN(key) : key === "");
      const compare = this.numeric[k] ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : words.compare;
      const sign = order === "ascending" ? 1 : -1;
      this.rows.sort((first, second) => {
        const a = keys.get(first);
        const b = keys.get(second);
        if (missing(a) || missing(b)) return missing(a) - missing(b); // last in either order
        return sign * compare(a, b);
      });
      this.heads.forEach((head, other) =>
        head.setAttribute("aria-sort", other === k ? order : "none"));
      storage.setItem(this.memory, `${k} ${order}`);
      this.select();
    }

    select() {
      const wanted = (this.filter ? this.filter.value : "").trim().toLowerCase();
      this.shown = wanted
        ? this.rows.filter((row) => row.textContent.toLowerCase().includes(wanted))
        : this.rows;
      this.first = 0;
      this.render();
    }

    render() {
      const last = Math.min(this.first + PAGE, this.shown.length);
      this.body.replaceChildren(...this.fixed, ...this.shown.slice(this.first, last));
      if (!this.where) return;
      this.back.disabled = this.first === 0;
      this.next.disabled = last === this.shown.length;
      this.where.textContent = this.shown.length
        ? `${this.first + 1} to ${last} of ${this.shown.length}`
        : "no such row";
    }
  }

  const number = (text) => {
    if (text === "") return NaN;
    if (text === "inf") return Infinity;
    if (text === "-inf") return -Infinity;
    return Number(text);
  };

  for (const table of document.querySelectorAll("table.sortable")) new Sortable(table);
})();
