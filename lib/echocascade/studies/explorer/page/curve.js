"use strict";
// The cavity's area over time, with a line that follows the clip.
const SVG = "http://www.w3.org/2000/svg";
function part(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function drawCurve(svg, area, fps, highest) {
  const width = 240, height = 92, left = 26, right = 4, top = 10, bottom = 18;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const seconds = area.length / fps;
  const x = (i) => left + (width - left - right) * (i / fps) / seconds;
  const y = (a) => height - bottom - (height - top - bottom) * a / highest;
  svg.append(part("line", { class: "axis", x1: left, x2: width - right, y1: y(0), y2: y(0) }));
  svg.append(part("text", { x: 0, y: top + 4 }, highest.toFixed(0)));
  svg.append(part("text", { x: 0, y: y(0) + 3 }, "0"));
  svg.append(part("text", { x: left, y: height - 4 }, "LV area, % of the frame"));
  svg.append(part("text", { x: width - right, y: height - 4, "text-anchor": "end" }, `${seconds} s`));
  let points = "", open = false;
  area.forEach((a, i) => {
    if (a === null) { open = false; return; }
    points += `${open ? "L" : "M"}${x(i).toFixed(1)} ${y(a).toFixed(1)}`;
    open = true;
  });
  if (points) svg.append(part("path", { class: "line", d: points }));
  else svg.append(part("text", { x: left + 4, y: height / 2 }, "cavity not readable"));
  const now = part("line", { class: "now", x1: left, x2: left, y1: top, y2: y(0) });
  svg.append(now);
  return (time) => {
    const place = x(Math.min(time, seconds) * fps);
    now.setAttribute("x1", place); now.setAttribute("x2", place);
  };
}
