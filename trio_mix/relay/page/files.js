// Shows the files of a session; sends and fetches them.

import * as api from "./api.js";
import { announce, button, el } from "./dom.js";
import { plain } from "./visible.js";

const SHOWN = 500;

function size(bytes) {
  if (!Number.isFinite(bytes)) return "";
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

export class Files {
  constructor(session) {
    this._session = session;
    this._list = el("ul", { class: "files" });
    this._status = el("p", { role: "status", class: "note" });
    this._input = el("input", { type: "file", multiple: true, class: "hidden", tabindex: "-1", "aria-hidden": "true" });
    this._input.addEventListener("change", () => {
      this.upload([...this._input.files]);
      this._input.value = "";
    });
    this.element = el(
      "section",
      { class: "panel", "aria-label": "Files", hidden: true },
      el("div", { class: "bar" }, button("Upload…", () => this._input.click()), button("Refresh", () => this.refresh())),
      this._input,
      this._status,
      this._list,
    );
  }

  get shown() {
    return !this.element.hidden;
  }

  toggle() {
    this.element.hidden = !this.element.hidden;
    if (this.shown) this.refresh();
    return this.shown;
  }

  async refresh() {
    if (!this.shown) return;
    try {
      const rows = await api.files(this._session);
      const items = rows.slice(0, SHOWN).map((row) => {
        const name = String(row.name ?? "");
        const shown = plain(name, 120);
        const link = row.isDir
          ? el("span", {}, `${shown}/`)
          : el("a", { href: api.fileUrl(this._session, name), download: name }, shown);
        return el("li", {}, link, " ", el("span", { class: "size" }, row.isDir ? "" : size(row.size)));
      });
      if (rows.length > SHOWN) items.push(el("li", {}, `and ${rows.length - SHOWN} more`));
      this._list.replaceChildren(...items);
      this._status.textContent = rows.length ? "" : "This session has no files.";
    } catch (error) {
      this._status.textContent = `The files cannot be listed: ${plain(error.message)}`;
    }
  }

  async upload(files) {
    if (this.element.hidden) this.element.hidden = false;
    for (const file of files) {
      const name = plain(file.name, 80);
      try {
        await api.upload(this._session, file, (part) => {
          this._status.textContent = `${name}: ${Math.floor(part * 100)} %`;
        });
      } catch (error) {
        this._status.textContent = `${name} was not uploaded: ${plain(error.message)}`;
        announce(this._status.textContent);
        return;
      }
      announce(`${name} was uploaded`);
    }
    await this.refresh();
  }
}
