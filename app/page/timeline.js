// Draws how long a prediction was in each stage: a bar, and the milliseconds below it.

const at = (id) => document.getElementById(id);

/** Show a timeline of the server; null hides it. */
export function showTimeline(timeline) {
  const stages = timeline?.stages.filter(({ ms }) => ms > 0) ?? [];
  at("timeline").hidden = stages.length === 0;
  at("timeline-bar").replaceChildren(
    ...stages.map(({ stage, ms }) => {
      const part = document.createElement("i");
      part.dataset.stage = stage;
      part.style.flexGrow = ms;
      return part;
    }),
  );
  at("timeline-text").textContent = stages.map(({ stage, ms }) => `${stage} ${ms} ms`.replaceAll(" ", "\u00a0")).join(" · ");
}
