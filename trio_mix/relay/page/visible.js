// Makes characters visible that a reader would not see, or that change the order of others.

// Controls, format characters (bidi, zero width, tags), line and paragraph separators, lone
// surrogates, private characters; blanks that are letters; joiners and variation selectors; blanks
// that are not the space.
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu;

// What ordinary text needs: lines, tabs, joined letters and emoji, and blanks.
const ORDINARY = /^[\n\t\u200c\u200d\ufe00-\ufe0f\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]$/u;

const NAMES = new Map([
  [0x00, "NUL"], [0x07, "BEL"], [0x08, "BACKSPACE"], [0x09, "TAB"], [0x0d, "CARRIAGE RETURN"],
  [0x1b, "ESCAPE"], [0x7f, "DELETE"], [0xa0, "NO-BREAK SPACE"], [0xad, "SOFT HYPHEN"],
  [0x200b, "ZERO WIDTH SPACE"], [0x200c, "ZERO WIDTH NON-JOINER"], [0x200d, "ZERO WIDTH JOINER"],
  [0x200e, "LEFT-TO-RIGHT MARK"], [0x200f, "RIGHT-TO-LEFT MARK"],
  [0x202a, "LEFT-TO-RIGHT EMBEDDING"], [0x202b, "RIGHT-TO-LEFT EMBEDDING"],
  [0x202c, "POP DIRECTIONAL FORMATTING"], [0x202d, "LEFT-TO-RIGHT OVERRIDE"],
  [0x202e, "RIGHT-TO-LEFT OVERRIDE"], [0x2066, "LEFT-TO-RIGHT ISOLATE"],
  [0x2067, "RIGHT-TO-LEFT ISOLATE"], [0x2068, "FIRST STRONG ISOLATE"],
  [0x2069, "POP DIRECTIONAL ISOLATE"], [0xfeff, "ZERO WIDTH NO-BREAK SPACE"],
]);

function mark(character) {
  const code = character.codePointAt(0);
  const hex = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  const span = document.createElement("span");
  span.className = "mark";
  span.title = NAMES.get(code) ?? "an invisible character";
  span.textContent = `⟨${hex}⟩`;
  return span;
}

/**
 * Append a text to an element, with hidden characters as marks.
 *
 * @param {boolean} strict mark all of them, also those that ordinary text needs, except line ends.
 */
export function appendText(parent, text, { strict = false } = {}) {
  let from = 0;
  for (const found of text.matchAll(HIDDEN)) {
    const character = found[0];
    if (character === "\n" || (!strict && ORDINARY.test(character))) continue;
    if (!strict && character === "\r" && text[found.index + 1] === "\n") {
      if (found.index > from) parent.append(text.slice(from, found.index));
      from = found.index + 1;
      continue;
    }
    if (found.index > from) parent.append(text.slice(from, found.index));
    parent.append(mark(character));
    from = found.index + character.length;
  }
  if (from < text.length) parent.append(from === 0 ? text : text.slice(from));
}

/** Return a short text on one line, with hidden characters as marks, as for a title. */
export function plain(text, longest = 200) {
  const line = String(text ?? "").slice(0, 4 * longest + 4).replace(/\s+/g, " ").trim();
  const holder = document.createElement("span");
  appendText(holder, line.length > longest ? `${line.slice(0, longest)}…` : line, { strict: true });
  return holder.textContent;
}
