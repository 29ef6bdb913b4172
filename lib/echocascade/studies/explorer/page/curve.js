"use strict";
// The cavity's area over time, with a line that follows the clip.
const SVG = "http://www.w3.org/2000/svg";
function part(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function drawCurve(svg, area, fps, [lowest, highest]) {
  const width = svg.clientWidth || 240, height = 92, left = 30, right = 4, top = 8, bottom = 18;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const seconds = area.length / fps;
  const x = (i) => left + (width - left - right) * (i / fps) / seconds;
  const y = (a) => height - bottom - (height - top - bottom) * (a - lowest) / (highest - lowest);
  const said = (a) => (highest - lowest < 4 ? a.toFixed(1) : a.toFixed(0));
  for (const a of [lowest, highest]) {
    svg.append(part("line", { class: "axis", x1: left, x2: width - right, y1: y(a), y2: y(a) }));
    svg.append(part("text", { x: left - 5, y: y(a) + 4, "text-anchor": "end" }, said(a)));
  }
  svg.append(part("text", { x: left, y: height - 3 }, "LV area, % of the frame"));
  svg.append(part("text", { x: width - right, y: height - 3, "text-anchor": "end" }, `${seconds} s`));
  let points = "", open = false;
  area.forEach((a, i) => {
    if (a === null) { open = false; return; }
    points += `${open ? "L" : "M"}${x(i).toFixed(1)} ${y(a).toFixed(1)}`;
    open = true;
  });
  if (points) svg.append(part("path", { class: "line", d: points }));
  else svg.append(part("text", { x: left + 4, y: height / 2 }, "cavity not readable"));
  const now = part("line", { class: "now", x1: left, x2: left, y1: top, y2: height - bottom });
  svg.append(now);
  return (time) => {
    const place = x(Math.min(time, seconds) * fps);
    now.setAttribute("x1", place); now.setAttribute("x2", place);
  };
}
function rangeOf(curves) {
  // one scale for all clips that are side by side, so that their strokes compare
  const known = curves.flat().filter((a) => a !== null);
  if (!known.length) return [0, 1];
  const low = Math.min(...known), high = Math.max(...known), room = Math.max(0.15 * (high - low), 0.1);
  return [Math.max(0, low - room), high + room];
}
