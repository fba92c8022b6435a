// Each class has the colour that the drawn picture gives it: class_colour and text_colour in azaion_engine/drawing.py.

/** The colour of a class as [red, green, blue], 0…255: round the hue circle by the golden ratio. */
export function classColour(classId) {
  const hue = (0.02 + classId * 0.618033988749895) % 1;
  const [saturation, value] = [[0.9, 1], [0.75, 0.75], [0.55, 1]][classId % 3];
  // HSV to RGB: each channel is a plateau of the hue circle, shifted by a third of it.
  return [5, 3, 1].map((shift) => {
    const k = (shift + hue * 6) % 6;
    return Math.round(255 * value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  });
}

/** Black or white, whichever has the greater contrast (WCAG 2.2). */
export function textColour(colour) {
  const linear = colour.map((c) => (c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? "#000" : "#fff";
}

/** Gives an element the colours of a class, as the custom properties --class and --on-class. */
export function paint(element, classId) {
  const colour = classColour(classId);
  element.style.setProperty("--class", `rgb(${colour.join(" ")})`);
  element.style.setProperty("--on-class", textColour(colour));
}
