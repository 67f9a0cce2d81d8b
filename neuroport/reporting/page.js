// Steps through what page.html.j2 stored of one run or two; neuroport/reporting/explorer.py wrote it.
// Names are text: they reach the page by textContent alone.
"use strict";
(() => {
  const ROWS = 300; // of a raster; more neurons share a row
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  if (!window.DecompressionStream) return;
  const runs = data.populations[0].runs.length;
  const titles = ["want", "got"];
  const control = Object.fromEntries(
    ["sample", "population", "step", "channel", "row", "column", "all"].map(id => [id, $(id)]));
  const samples = new Map(); // part of data.samples -> messages of each run and population
  let shown = null; // what is drawn: population, layout and values of the chosen sample
  let latest = 0;

  const count = n => n.toLocaleString("en-US");
  const size = population => population.shape.reduce((a, b) => a * b, 1);

  /** Width and height of a channel. */
  const inside = population => {
    const rest = population.shape.slice(1);
    const width = rest.length ? rest[rest.length - 1] : 1;
    return [width, rest.reduce((a, b) => a * b, 1) / width];
  };

  const unpacked = async text => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  };

  const messages = (buffer, at, length, type) => {
    if (type !== "bits") {
      const kinds = { int8: Int8Array, int16: Int16Array, int32: Int32Array };
      const bytes = length * kinds[type].BYTES_PER_ELEMENT;
      return [Int32Array.from(new kinds[type](buffer.slice(at, at + bytes))), bytes];
    }
    const bits = new Uint8Array(buffer, at);
    return [Int32Array.from({ length }, (_, i) => (bits[i >> 3] >> (7 - (i & 7))) & 1), (length + 7) >> 3];
  };

  /** The messages of a sample: for each run one array (steps, channels, height, width) a population. */
  const load = async part => {
    if (samples.has(part)) return samples.get(part);
    const found = [];
    for (let run = 0; run < runs; run++) {
      const buffer = await unpacked(run ? part.got : part.want);
      let at = 0;
      found.push(data.populations.map((population, index) => {
        if (run && !part.differ.includes(index)) return found[0][index];
        if (!population.runs[run]) return null;
        const [width, height] = inside(population);
        const length = data.steps * population.channels.length * width * height;
        const [values, bytes] = messages(buffer, at, length, population.type);
        at += bytes;
        return values;
      }));
    }
    samples.set(part, found);
    return found;
  };

  // ---- pictures ------------------------------------------------------------------------------

  const color = name => {
    const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
  };

  /** Paint numbers, row by row: blue above 0, orange below; what is no number stays paper. */
  const paint = (canvas, columns, rows, values, most) => {
    const [empty, above, below] = ["--faint", "--lif", "--relay"].map(color);
    const image = new ImageData(columns, rows);
    values.forEach((value, i) => {
      if (Number.isNaN(value)) return;
      const ink = value < 0 ? below : above;
      const share = value ? 0.15 + 0.85 * Math.min(1, Math.abs(value) / most) : 0;
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = empty[c] + share * (ink[c] - empty[c]);
      image.data[4 * i + 3] = 255;
    });
    const small = new OffscreenCanvas(columns, rows);
    small.getContext("2d").putImageData(image, 0, 0);
    const [x, y] = [Math.ceil(560 / columns), Math.ceil(360 / rows)];
    const each = canvas.className === "map" ? [Math.min(x, 40), Math.min(x, 40)] : [x, y];
    canvas.width = columns * each[0];
    canvas.height = rows * each[1];
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  };

  /** Where the cells of a map lie: channels side by side, with a line between them. */
  const mapLayout = (population, only) => {
    const [width, height] = inside(population);
    const channels = only === null ? population.channels.length : 1;
    const gap = width * height > 1 ? 1 : 0;
    const across = Math.min(channels, Math.ceil(Math.sqrt(channels * height / width)));
    const columns = across * (width + gap) - gap;
    const rows = Math.ceil(channels / across) * (height + gap) - gap;
    const place = (channel, row, column) => {
      const tile = only === null ? channel : 0;
      return [(tile % across) * (width + gap) + column, Math.floor(tile / across) * (height + gap) + row];
    };
    const at = (x, y) => {
      const [tileX, tileY] = [Math.floor(x / (width + gap)), Math.floor(y / (height + gap))];
      const tile = tileY * across + tileX;
      const [column, row] = [x - tileX * (width + gap), y - tileY * (height + gap)];
      if (tile >= channels || column >= width || row >= height) return null;
      return [only === null ? tile : only, row, column];
    };
    return { columns, rows, place, at };
  };

  const mapValues = (values, layout, step) => {
    const found = new Float64Array(layout.columns * layout.rows).fill(NaN);
    for (let y = 0; y < layout.rows; y++) {
      for (let x = 0; x < layout.columns; x++) {
        const neuron = layout.at(x, y);
        if (neuron) found[y * layout.columns + x] = values[flat(step, neuron)];
      }
    }
    return found;
  };

  /** One row a neuron; of many neurons the mean size of what they sent, a channel (or some) a row. */
  const rasterRows = () => {
    const { neurons, population } = shown;
    return neurons <= ROWS ? neurons : Math.min(population.channels.length, ROWS);
  };

  const rasterValues = values => {
    const { neurons } = shown;
    const rows = rasterRows();
    const [sums, sizes] = [new Float64Array(rows * data.steps), new Float64Array(rows * data.steps)];
    for (let step = 0; step < data.steps; step++) {
      for (let i = 0; i < neurons; i++) {
        const at = Math.floor(i * rows / neurons) * data.steps + step;
        const value = values[step * neurons + i];
        sums[at] += value;
        sizes[at] += Math.abs(value);
      }
    }
    return sizes.map((size, i) => Math.sign(sums[i] || 1) * size * rows / neurons);
  };

  const largest = arrays => {
    let most = 0;
    for (const array of arrays) {
      for (const value of array) if (Math.abs(value) > most) most = Math.abs(value);
    }
    return most || 1;
  };

  // ---- state ---------------------------------------------------------------------------------

  const step = () => Number(control.step.value);
  const neuron = () => [control.channel, control.row, control.column].map(each => Number(each.value) || 0);
  const flat = (at, [channel, row, column]) =>
    at * shown.neurons + (channel * shown.height + row) * shown.width + column;
  const named = ([channel, row, column]) => {
    const number = shown.population.channels[channel];
    if (shown.population.shape.length === 1) return `(${number})`;
    return shown.population.shape.length === 2 ? `(${number}, ${column})` : `(${number}, ${row}, ${column})`;
  };
  const choose = place => {
    [control.channel, control.row, control.column].forEach((each, i) => { each.value = place[i]; });
  };

  const part = () => data.samples[control.sample.selectedIndex];

  /** Read the chosen sample and population, fit the controls to it, and draw. */
  const select = async () => {
    const request = ++latest;
    const all = await load(part());
    if (request !== latest) return; // chosen again meanwhile
    const index = control.population.selectedIndex;
    const population = data.populations[index];
    const [width, height] = inside(population);
    const values = all.map(run => run[index]);
    const changed = !shown || shown.population !== population;
    shown = { population, width, height, values, neurons: population.channels.length * width * height };
    const held = values.filter(each => each);
    shown.difference = held.length === 2 ? held[1].map((value, i) => value - held[0][i]) : null;
    shown.pictures = runs === 2 ? [...values, shown.difference] : values;
    shown.rasters = shown.pictures.map(each => each && rasterValues(each));
    // the runs share a scale, their difference has its own
    const both = pictures => largest(pictures.slice(0, runs).filter(each => each));
    const own = pictures => largest([pictures[2] || []]);
    shown.most = [both(values), own(shown.pictures)];
    shown.mostRaster = [both(shown.rasters), own(shown.rasters)];
    if (changed) {
      control.channel.replaceChildren(...population.channels.map((number, i) => new Option(number, i)));
      control.row.max = height - 1;
      control.column.max = width - 1;
      for (const each of document.querySelectorAll(".inside")) each.hidden = width * height === 1;
      control.row.parentElement.hidden = height === 1;
      choose([0, 0, 0]);
    }
    draw();
  };

  const draw = () => {
    if (!shown) return; // not yet unpacked
    const [channel, row, column] = neuron();
    choose([channel, Math.min(Math.max(0, row), shown.height - 1), Math.min(Math.max(0, column), shown.width - 1)]);
    const tiles = shown.width * shown.height === 1;
    const layout = mapLayout(shown.population, control.all.checked || tiles ? null : channel);
    shown.layout = layout;
    document.querySelectorAll(".panels figure").forEach((figure, i) => {
      const [map, raster] = figure.querySelectorAll("canvas");
      const picture = shown.pictures[i];
      figure.hidden = !picture;
      if (!picture) return;
      const scale = i < 2 ? 0 : 1;
      paint(map, layout.columns, layout.rows, mapValues(picture, layout, step()), shown.most[scale]);
      paint(raster, data.steps, rasterRows(), shown.rasters[i], shown.mostRaster[scale]);
      mark(map, ...layout.place(...neuron()), 1, 1, layout.columns, layout.rows);
      mark(raster, step(), 0, 1, rasterRows(), data.steps, rasterRows());
    });
    tell();
  };

  /** Frame some cells of a picture. */
  const mark = (canvas, x, y, width, height, columns, rows) => {
    const style = canvas.nextElementSibling.style;
    style.left = `${100 * x / columns}%`;
    style.top = `${100 * y / rows}%`;
    style.width = `${100 * width / columns}%`;
    style.height = `${100 * height / rows}%`;
  };

  // ---- words ---------------------------------------------------------------------------------

  const cell = (tag, text, kind = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = kind;
    if (tag === "th") made.scope = kind ? "col" : "row";
    return made;
  };

  const tell = () => {
    const { population, values, neurons, difference } = shown;
    const at = step();
    const name = run => runs === 1 ? "" : ` in ${titles[run]}`;
    const here = values.map(each => each && each.subarray(at * neurons, (at + 1) * neurons));
    const sent = here.flatMap((each, run) =>
      each ? [`${count(each.filter(value => value).length)}${name(run)}`] : []);
    const place = flat(at, neuron());
    const gave = values.flatMap((each, run) => each ? [`${each[place]}${name(run)}`] : []);
    const few = neurons < size(population) ? " in this page" : "";
    const now = difference ? difference.subarray(at * neurons, (at + 1) * neurons) : [];
    const unlike = [];
    let number = 0;
    now.forEach((value, i) => { if (value && ++number <= 12) unlike.push(i); });
    $("step-told").textContent = `${at} of 0–${data.steps - 1}`;
    control.step.setAttribute("aria-valuetext", `step ${at}`);
    $("told").textContent =
      `${population.name}, step ${at}: of ${count(neurons)} neurons${few}, not 0: ${sent.join(", ")}` +
      `${runs === 2 && difference ? `; ${count(number)} differ` : ""}. ` +
      `Neuron ${named(neuron())}: ${gave.join(", ")}.`;
    $("raster-rows").textContent = rasterRows() === neurons
      ? "a row for each neuron" : "a row for each channel, or some, by the mean size of what their neurons sent";
    const { width, height } = shown;
    const buttons = unlike.map(i => {
      const chosen = [Math.floor(i / (width * height)), Math.floor(i / width) % height, i % width];
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = named(chosen);
      button.addEventListener("click", () => { choose(chosen); draw(); });
      return button;
    });
    const more = number > unlike.length ? ` and ${count(number - unlike.length)} more` : "";
    $("unlike").replaceChildren(...(number ? ["Differ at this step: ", ...buttons, more] : []));
    over(place % neurons);
  };

  /** The table of the chosen neuron: a column for each step. */
  const over = place => {
    const { values, neurons, difference } = shown;
    const steps = Array.from({ length: data.steps }, (_, t) => t);
    const head = document.createElement("tr");
    head.append(cell("th", `neuron ${named(neuron())}, step`, "first"),
      ...steps.map(t => cell("th", t, t === step() ? "n now" : "n")));
    const rows = values.flatMap((each, run) => {
      if (!each) return [];
      const row = document.createElement("tr");
      row.append(cell("th", runs === 1 ? "sent" : titles[run]), ...steps.map(t => {
        const unlike = difference && difference[t * neurons + place];
        const kind = `n${t === step() ? " now" : ""}${unlike ? " wrong" : ""}`;
        return cell("td", `${each[t * neurons + place]}${unlike && run ? " ≠" : ""}`, kind);
      }));
      return [row];
    });
    $("over").replaceChildren(head, ...rows);
  };

  // ---- what the reader does --------------------------------------------------------------------

  const jump = async () => {
    const [sample, index, at, ...place] = data.first;
    control.sample.selectedIndex = data.samples.findIndex(each => each.sample === sample);
    control.population.selectedIndex = index;
    control.step.value = at;
    await select();
    const population = data.populations[index];
    const column = place.length > 1 ? place[place.length - 1] : 0;
    const row = place.length > 2 ? place[1] : 0;
    choose([population.channels.indexOf(place[0]), row, column]);
    control.all.checked = false; // its channel alone, large
    draw();
  };

  const where = (event, canvas) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  const keys = event => {
    if (!shown) return;
    const [channel, row, column] = neuron();
    const tiles = shown.width * shown.height === 1;
    const across = shown.layout.columns;
    const moves = {
      ArrowLeft: tiles ? [-1, 0, 0] : [0, 0, -1], ArrowRight: tiles ? [1, 0, 0] : [0, 0, 1],
      ArrowUp: tiles ? [-across, 0, 0] : [0, -1, 0], ArrowDown: tiles ? [across, 0, 0] : [0, 1, 0],
      PageUp: [-1, 0, 0], PageDown: [1, 0, 0],
    };
    const by = moves[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const last = shown.population.channels.length - 1;
    choose([Math.min(Math.max(0, channel + by[0]), last), row + by[1], column + by[2]]);
    draw();
  };

  const start = () => {
    control.sample.replaceChildren(...data.samples.map(each => {
      const guesses = each.classes.map((guess, run) =>
        guess === null ? null : `${runs === 1 ? "taken for" : titles[run]} ${guess}`).filter(text => text);
      const label = each.label === null ? [] : [`class ${each.label}`];
      const differs = each.differ && each.differ.length ? ["differs"] : [];
      return new Option([each.sample, ...label, ...guesses, ...differs].join(" · "));
    }));
    const marks = () => data.populations.forEach((population, index) => {
      const differs = runs === 2 && part().differ.includes(index) ? " · differs" : "";
      control.population.options[index].text =
        `${population.name} · ${population.kind} ${population.shape.join("×")}${differs}`;
    });
    control.population.replaceChildren(...data.populations.map(() => new Option()));
    control.population.selectedIndex = Math.max(0, data.populations.findIndex(each => each.kind === "lif"));
    control.step.max = data.steps - 1;
    marks();
    control.sample.addEventListener("change", () => { marks(); select(); });
    control.population.addEventListener("change", select);
    control.step.addEventListener("input", draw);
    for (const id of ["channel", "row", "column", "all"]) control[id].addEventListener("change", draw);
    document.querySelectorAll("canvas.map").forEach(canvas => canvas.addEventListener("click", event => {
      const [x, y] = where(event, canvas);
      const chosen = shown && shown.layout.at(Math.floor(x * shown.layout.columns), Math.floor(y * shown.layout.rows));
      if (chosen) { choose(chosen); draw(); }
    }));
    document.querySelectorAll("canvas.raster").forEach(canvas => canvas.addEventListener("click", event => {
      control.step.value = Math.floor(where(event, canvas)[0] * data.steps);
      draw();
    }));
    document.querySelector("canvas.map").addEventListener("keydown", keys);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    if (data.first) {
      const go = () => jump().then(marks);
      $("to-divergence").addEventListener("click", go);
      $("to-maps").hidden = false;
      $("to-maps").addEventListener("click", () => go().then(() => {
        $("look").scrollIntoView();
        document.querySelector("canvas.map").focus({ preventScroll: true });
      }));
    }
    $("asleep").hidden = true;
    $("explorer").hidden = false;
    (data.first ? jump().then(marks) : select());
  };

  start();
})();
