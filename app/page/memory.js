// Remembers key, draft and theme: in this tab, and on this device if the user wants that.

const PREFIX = "klein-";
const NOTHING = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
const tab = open("sessionStorage");
const device = open("localStorage");
let isKept = device.getItem(`${PREFIX}key`) !== null;

export const isRemembered = () => isKept;

export const recall = (name) => tab.getItem(PREFIX + name) ?? (isKept ? device.getItem(PREFIX + name) : null);

/** Remember a text; false if the browser has no room for it. */
export function remember(name, text) {
  try {
    tab.setItem(PREFIX + name, text);
    if (isKept) device.setItem(PREFIX + name, text);
    return true;
  } catch {
    forget(name);
    return false;
  }
}

export function forget(name) {
  tab.removeItem(PREFIX + name);
  device.removeItem(PREFIX + name);
}

/** Choose whether everything is remembered on this device, or in this tab only. */
export function keepOnDevice(choice) {
  isKept = choice;
  for (const name of ["key", "draft", "images", "theme"]) {
    const text = tab.getItem(PREFIX + name);
    if (!choice) device.removeItem(PREFIX + name);
    else if (text !== null) remember(name, text);
  }
}

/** Open a storage; where the browser is set to forbid it, nothing is remembered. */
function open(name) {
  try {
    return window[name];
  } catch {
    return NOTHING;
  }
}
