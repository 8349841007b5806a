// Runs before the page's content security policy applies: measures the loaded page and writes the
// result into a textarea.
let errors = [];
let hits = 0;
function hit() { hits += 1; }
addEventListener("error", (event) => errors.push(String(event.message)));
addEventListener("load", () => {
  const box = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return { left: left + scrollX, top: top + scrollY, right: right + scrollX, bottom: bottom + scrollY };
  };
  const charts = [...document.querySelectorAll("svg")].map((svg) => {
    const outer = box(svg);
    const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim() !== "").map((text) => {
      const px = parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
      return { words: text.textContent, px, ...box(text) };
    });
    const outside = texts.filter((t) => t.left < outer.left - 1 || t.right > outer.right + 1 || t.top < outer.top - 1 || t.bottom > outer.bottom + 1);
    const over = [];
    texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > -2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3) {
        over.push(`${a.words} | ${b.words}`);
      }
    }));
    const shapes = [...svg.querySelectorAll("rect, path, circle")].filter((shape) => shape.getBBox().width > 0);
    // The fill of a shape, or its stroke if it has no fill; "none" for an invisible shape.
    const paint = ({ fill, stroke }) => (fill === "none" ? stroke : fill);
    const paints = [...new Set(shapes.map((shape) => paint(getComputedStyle(shape))))];
    return {
      id: svg.id, ...outer, shapes: shapes.length, paints, texts: texts.length, smallest_px: Math.min(...texts.map((t) => t.px)),
      outside: outside.map((t) => t.words), over,
      named: svg.querySelector(":scope > title").textContent !== "" && svg.querySelector(":scope > desc").textContent !== "",
    };
  });
  // What a reader cannot see without scrolling sideways, or what reaches out of its box.
  const cut = [...document.querySelectorAll("body *")].filter((e) => {
    const style = getComputedStyle(e);
    return !e.closest("svg, details:not([open])") && style.display !== "inline" && e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1;
  }).map((e) => `${e.tagName}.${e.className}: ${e.scrollWidth} of ${e.clientWidth} px`);
  const found = {
    cut,
    charts, errors, hits,
    scripts: document.scripts.length, pictures: document.images.length,
    handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
    requests: performance.getEntriesByType("resource").length,
    overflow_px: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    height_px: document.documentElement.scrollHeight,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  };
  const out = document.createElement("textarea");
  out.id = "probe";
  out.hidden = true;
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
