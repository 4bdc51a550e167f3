// Looks at a page in frames of several widths, and writes down what is wrong with it. `PAGE` is its text, `WIDTHS` the widths;
// what it says on paper is looked at as well, at the width of a sheet.
const PAPER = 718;
const MISSING = /\bundefined\b|\bNaN\b|\binf\b|Infinity|\[object|\bnull\b/;

/** What an element is called in a complaint. */
function named(element) {
  const place = element.closest('section');
  const of = place ? `#${place.id || place.querySelector('h2').textContent.slice(0, 20)} ` : '';
  return `${of}${element.tagName.toLowerCase()}.${element.getAttribute('class') || ''} "${element.textContent.trim().slice(0, 40)}"`;
}

/** Whether a part of the element's ancestors scrolls by itself. */
function scrolls(element) {
  for (let box = element; box; box = box.parentElement) {
    if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return true;
  }
  return false;
}

function overflows(page) {
  const root = page.documentElement, wrong = [];
  if (root.scrollWidth > root.clientWidth) wrong.push(`the page is ${root.scrollWidth} wide in ${root.clientWidth}`);
  for (const element of page.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    const svg = element.ownerSVGElement;
    if (svg) {
      const around = svg.getBoundingClientRect();
      const inside = box.left >= around.left - 1 && box.right <= around.right + 1 && box.top >= around.top - 2 && box.bottom <= around.bottom + 2;
      if (!inside) wrong.push(`drawn outside of its picture: ${named(element)}`);
    } else if (!scrolls(element)) {
      if (box.width && (box.right > root.clientWidth + 1 || box.left < -1)) wrong.push(`sticks out: ${named(element)}`);
      if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) wrong.push(`wider than its box: ${named(element)}`);
    }
  }
  return wrong;
}

function missing(page) {
  const wrong = [];
  const text = page.body.innerText;
  if (MISSING.test(text)) wrong.push(`says "${text.match(MISSING)[0]}"`);
  for (const cell of page.querySelectorAll('td, th, dd, figcaption, summary, h1, h2, h3, h4')) {
    const said = cell.textContent.trim();
    if (!cell.querySelector('svg') && (said === '' || /^none$/i.test(said))) wrong.push(`empty: ${named(cell)} of ${named(cell.parentElement)}`);
  }
  for (const cell of page.querySelectorAll('.stack tbody td:not(.bar), .stack tfoot td:not(.bar)')) {
    if (!cell.dataset.label) wrong.push(`without a label: ${named(cell)}`);
  }
  for (const section of page.querySelectorAll('section')) {
    const content = section.textContent.replace(section.querySelector('h2').textContent, '').trim();
    if (content.length < 10) wrong.push(`without content: ${named(section)}`);
  }
  for (const figure of page.querySelectorAll('figure')) {
    if (!figure.querySelector('svg > text[text-anchor=middle]')) wrong.push(`no steps: ${named(figure)}`);
    if (!figure.querySelector('polyline')) wrong.push(`no curve: ${named(figure)}`);
  }
  return wrong;
}

/** Lines of one picture that are told apart by colour alone. */
function colours(page) {
  const wrong = [];
  for (const figure of page.querySelectorAll('figure')) {
    const dashes = [...figure.querySelectorAll('polyline')].map((line) => getComputedStyle(line).strokeDasharray);
    if (new Set(dashes).size < dashes.length) wrong.push(`two lines alike: ${named(figure)}`);
  }
  for (const link of page.querySelectorAll('a')) {
    if (!/underline/.test(getComputedStyle(link).textDecorationLine)) wrong.push(`known by its colour alone: ${named(link)}`);
  }
  return wrong;
}

/** How bright a colour of the style is, as WCAG counts. */
function brightness(colour) {
  const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
  const [red, green, blue] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Texts that are hard to read on the page's ground. */
function faint(page) {
  const ground = brightness(getComputedStyle(page.body).backgroundColor);
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const ink = brightness(element.ownerSVGElement ? style.fill : style.color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  };
  const texts = [...page.body.querySelectorAll('p, td, th, caption, figcaption, dt, dd, svg text')];
  return texts.filter((element) => contrast(element) < 4.5).map((element) => `faint: ${named(element)}`);
}

/** All that is to be read on paper: nothing in a box that scrolls, pairs unfolded. */
function cut(page) {
  const wrong = [];
  for (const element of page.body.querySelectorAll('*')) {
    const hidden = element.closest('details:not([open]):not(.example)');
    if (!hidden && !element.closest('svg') && element.clientHeight && /auto|scroll|hidden/.test(getComputedStyle(element).overflowY)) wrong.push(`cut off in print: ${named(element)}`);
  }
  for (const pair of page.querySelectorAll('details.example .text')) {
    if (!pair.checkVisibility()) wrong.push(`not printed: ${named(pair)}`);
  }
  return wrong;
}

/** Everything that is folded is looked at, too. */
function unfold(page) {
  page.querySelectorAll('details').forEach((details) => { details.open = true; });
}

function look(text, width, what) {
  return new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
    frame.onload = () => { done(what(frame.contentDocument)); frame.remove(); };
    frame.srcdoc = text;
    document.body.append(frame);
  });
}

(async () => {
  const found = [];
  const note = (at, wrong) => wrong.forEach((text) => found.push(`${at}: ${text}`));
  for (const width of WIDTHS) {
    const all = (page) => { const folded = overflows(page); unfold(page); return [...folded, ...overflows(page), ...missing(page), ...colours(page), ...faint(page)]; };
    note(width, await look(PAGE, width, all));
  }
  const printed = PAGE.replaceAll('@media print', '@media all').replace('color-scheme: light dark', 'color-scheme: light');
  note('print', await look(printed, PAPER, (page) => [...overflows(page), ...cut(page), ...colours(page), ...faint(page)]));
  const said = document.createElement('pre');
  said.id = 'found';
  said.textContent = JSON.stringify([...new Set(found)]);
  document.body.append(said);
})();
