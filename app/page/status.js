// Shows queue and workers, and updates them every few seconds while the page is visible.

import { request, hasKey } from "./api.js";

const at = (id) => document.getElementById(id);
const INTERVAL_MS = 4000;

export class Status {
  #timer;
  #then;

  /** `then` is called with each update. */
  constructor(then) {
    this.#then = then;
    document.addEventListener("visibilitychange", () => this.update());
  }

  async update() {
    clearTimeout(this.#timer);
    if (document.hidden || !hasKey()) return;
    try {
      this.#show(await request("v1/status"));
      this.#then();
    } catch (error) {
      at("pulse").textContent = error.message;
      at("pulse").dataset.state = "bad";
    }
    this.#timer = setTimeout(() => this.update(), INTERVAL_MS);
  }

  #show({ running, queues, workers }) {
    const waiting = queues.reduce((sum, line) => sum + line.waiting, 0);
    at("waiting").textContent = waiting;
    at("running").textContent = running;
    const count = new Set(workers.map((worker) => worker.process)).size;
    at("workers").textContent = count;
    at("pulse").dataset.state = count ? "good" : "bad";
    at("pulse").textContent = count
      ? `${count} ${count === 1 ? "worker" : "workers"} ready${waiting ? `, ${waiting} waiting` : ""}`
      : "No worker is ready";
    at("worker-list").replaceChildren(
      ...workers.map((worker) => {
        const item = document.createElement("li");
        const name = document.createElement("b");
        name.textContent = worker.name;
        const about = document.createElement("span");
        const state = worker.state === "ready" ? [] : [worker.state];
        about.textContent = [...state, worker.weights, worker.models.join(", ")].join(" · ");
        item.append(name, about);
        return item;
      }),
    );
  }
}
