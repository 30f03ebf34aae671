// Notifications of the system: a session needs an answer, and the page is not visible.

import { button } from "./dom.js";

const granted = () => window.Notification?.permission === "granted";

/** The button that asks the browser for the right to show notifications, where it can. */
export function notifyButton() {
  const asking = button("Notify me", async () => {
    await window.Notification.requestPermission();
    asking.hidden = true;
  }, {
    class: "quiet",
    title: "Show a notification when a session needs an answer while this page is not visible",
    hidden: window.Notification?.permission !== "default",
  });
  return asking;
}

/** Whether notifications may have to be shown. */
export const wantsNotifications = granted;

/** Show a notification, unless the page is visible; `onOpen` is called when it is clicked. */
export function notify(text, tag, onOpen) {
  if (!document.hidden || !granted()) return;
  try {
    const shown = new window.Notification("Mix", { body: text, tag });
    shown.onclick = () => {
      window.focus();
      shown.close();
      onOpen();
    };
  } catch {
    // Some browsers on phones show none for a page without a service worker.
  }
}
