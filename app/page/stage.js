// The picture in the middle: its frame, its progress, and what became of it.

const at = (id) => document.getElementById(id);
const SIZES = {
  square: [512, 512],
  square_hd: [1024, 1024],
  portrait_4_3: [768, 1024],
  portrait_16_9: [576, 1024],
  landscape_4_3: [1024, 768],
  landscape_16_9: [1024, 576],
};

export class Stage {
  /** Give the frame the shape of what is asked for. */
  shape(size) {
    const [width, height] = SIZES[size] ?? (size?.width ? [size.width, size.height] : [1, 1]);
    at("frame").style.setProperty("--shape", width / height);
  }

  begin(size) {
    this.shape(size);
    at("pictures").replaceChildren();
    at("empty").hidden = true;
    at("done").hidden = true;
    at("frame").classList.add("busy");
    this.progress(0, 0);
    this.say("Sending…");
  }

  progress(step, steps) {
    at("progress").hidden = false;
    if (steps) at("progress").value = step / steps;
    else at("progress").removeAttribute("value");
  }

  preview(url) {
    let picture = at("pictures").firstElementChild;
    if (!picture) {
      picture = new Image();
      picture.alt = "Preview";
      at("pictures").append(picture);
    }
    picture.src = url;
  }

  /** Show pictures that are there; `actions` where something can be done with them. */
  show(urls, prompt) {
    this.stop();
    at("empty").hidden = true;
    at("pictures").dataset.count = urls.length;
    at("pictures").replaceChildren(
      ...urls.map((url, k) => {
        const picture = new Image();
        picture.alt = urls.length > 1 ? `${prompt} (${k + 1} of ${urls.length})` : prompt;
        picture.src = url;
        if (urls.length === 1) {
          picture.addEventListener("load", () => {
            at("frame").style.setProperty("--shape", picture.naturalWidth / picture.naturalHeight);
          });
        }
        return picture;
      }),
    );
    at("done").hidden = false;
    at("download").href = urls[0];
  }

  stop() {
    at("frame").classList.remove("busy");
    at("progress").hidden = true;
  }

  clear(words) {
    this.stop();
    at("pictures").replaceChildren();
    at("done").hidden = true;
    at("empty").hidden = false;
    this.say(words);
  }

  say(words) {
    if (at("says").textContent !== words) at("says").textContent = words;
  }
}
