// Remembers key, draft and theme: in this tab, and on this device if the user wants that.

const PREFIX = "klein-";
let isKept = localStorage.getItem(`${PREFIX}key`) !== null;

export const isRemembered = () => isKept;

export const recall = (name) => sessionStorage.getItem(PREFIX + name) ?? (isKept ? localStorage.getItem(PREFIX + name) : null);

/** Remember a text; false if the browser has no room for it. */
export function remember(name, text) {
  try {
    sessionStorage.setItem(PREFIX + name, text);
    if (isKept) localStorage.setItem(PREFIX + name, text);
    return true;
  } catch {
    forget(name);
    return false;
  }
}

export function forget(name) {
  sessionStorage.removeItem(PREFIX + name);
  localStorage.removeItem(PREFIX + name);
}

/** Choose whether everything is remembered on this device, or in this tab only. */
export function keepOnDevice(choice) {
  isKept = choice;
  for (const name of ["key", "draft", "images", "theme"]) {
    const text = sessionStorage.getItem(PREFIX + name);
    if (!choice) localStorage.removeItem(PREFIX + name);
    else if (text !== null) remember(name, text);
  }
}
