// The result: its frame, the progress, and the images.

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
  /** Give the frame the aspect ratio of the requested size. */
  shape(size) {
    const [width, height] = SIZES[size] ?? (size?.width ? [size.width, size.height] : [1, 1]);
    at("frame").style.setProperty("--shape", width / height);
  }

  begin(size) {
    this.shape(size);
    at("images").replaceChildren();
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
    let image = at("images").firstElementChild;
    if (!image) {
      image = new Image();
      image.alt = "Preview";
      at("images").append(image);
    }
    image.src = url;
  }

  /** Show the generated images and the buttons for them. */
  show(urls, prompt) {
    this.stop();
    at("empty").hidden = true;
    at("images").dataset.count = urls.length;
    at("images").replaceChildren(
      ...urls.map((url, k) => {
        const image = new Image();
        image.alt = urls.length > 1 ? `${prompt} (${k + 1} of ${urls.length})` : prompt;
        image.src = url;
        if (urls.length === 1) {
          image.addEventListener("load", () => {
            at("frame").style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
          });
        }
        return image;
      }),
    );
    at("done").hidden = false;
    at("download").href = urls[0];
  }

  stop() {
    at("frame").classList.remove("busy");
    at("progress").hidden = true;
  }

  clear(text) {
    this.stop();
    at("images").replaceChildren();
    at("done").hidden = true;
    at("empty").hidden = false;
    this.say(text);
  }

  say(text) {
    if (at("says").textContent !== text) at("says").textContent = text;
  }
}
