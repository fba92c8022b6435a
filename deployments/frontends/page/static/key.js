// The service's key, where it wants one: asked for once, kept until the tab is closed, and sent in a header only.

const PLACE = `azaion-key ${new URL(".", document.baseURI).pathname}`; // another service may lie beside this one
let current = stored();
let asking = null;

/** The key to send; empty if there is none. */
export const key = () => current;

export const keyHeaders = () => (current ? { Authorization: `Bearer ${current}` } : {});

/**
 * Asks for a key, in one dialog for all requests that were refused.
 *
 * @param {string} refused the key that was sent; if it is another by now, nobody is asked
 * @param {string} reason the service's words
 * @returns {Promise<boolean>} whether there is another key to try
 */
export function askForKey(refused, reason) {
  if (refused !== current) return Promise.resolve(true);
  asking ??= ask(refused ? reason : "Keys come from whoever runs the service.").finally(() => (asking = null));
  return asking;
}

function ask(reason) {
  const dialog = document.getElementById("key-dialog");
  const field = document.getElementById("key");
  document.getElementById("key-reason").textContent = reason;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    const submit = (event) => {
      event.preventDefault(); // the page's policy lets no form go anywhere
      dialog.close(field.value.trim());
    };
    form.addEventListener("submit", submit);
    document.getElementById("key-cancel").onclick = () => dialog.close("");
    dialog.addEventListener(
      "close",
      () => {
        form.removeEventListener("submit", submit);
        field.value = "";
        if (dialog.returnValue) keep(dialog.returnValue);
        const given = dialog.returnValue !== "";
        dialog.returnValue = "";
        resolve(given);
      },
      { once: true },
    );
  });
}

function keep(given) {
  current = given;
  try {
    sessionStorage.setItem(PLACE, given);
  } catch {
    // A browser that stores nothing asks again after a reload.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(PLACE) ?? "";
  } catch {
    return "";
  }
}
