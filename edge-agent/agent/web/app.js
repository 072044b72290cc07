// Local dashboard: asks the daemon once a second and draws what it says.
//
// Contract: everything that comes from the daemon reaches the page through textContent or attributes set by name, never as
// markup. One round of questions runs at a time; a round that fails or takes too long shows the store as away and keeps
// the last picture, dimmed. No external assets; works from the gateway alone.
"use strict";

const ROUND_MS = 1000;
const DEADLINE_MS = 4000;
const CURVE_MINUTES = 60;
// Curves change slowly: each round asks for this many of them, in turn.
const CURVES_PER_ROUND = 4;
const ROWS_MAX = 12;

const curves = new Map();
let nextCurve = 0;
let lastGood = 0;

const byId = (id) => document.getElementById(id);

/** An element with a class, a text and children. */
function make(tag, { cls = "", text = null, children = [] } = {}) {
  const element = document.createElement(tag);
  if (cls) element.className = cls;
  if (text !== null) element.textContent = text;
  element.append(...children);
  return element;
}

const tones = {
  ok: "good", ready: "good", accepted: "good", hold: "good", connected: "good", synced: "good",
  degraded: "warn", unseen: "warn", acknowledged: "warn", shelved: "warn", unsynced: "warn",
  lost: "bad-text", failed: "bad-text", fault: "bad-text", unacknowledged: "bad-text", suspect: "bad-text", full: "bad-text",
};
const word = (text) => make("span", { cls: tones[text] ?? "", text });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const celsius = (mc) => (isNumber(mc) ? `${(mc / 1000).toFixed(1)} °C` : "–");
const milli = (value) => (isNumber(value) ? (value / 1000).toFixed(3).replace(/\.?0+$/, "") : "–");
const money = (minor) => (isNumber(minor) ? (minor / 100).toFixed(2) : "–");
const time = (ms) => (isNumber(ms) ? new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "–");
const size = (bytes) => (bytes >= 1 << 20 ? `${(bytes / (1 << 20)).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`);
function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds / 3600) % 24)} h`;
}

async function ask(path, signal) {
  const answer = await fetch(path, { signal, cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return answer.json();
}

/** A table; heads starting with ">" are numbers. Cells are texts or nodes. */
function table(heads, rows, empty) {
  if (rows.length === 0) return make("p", { cls: "quiet", text: empty });
  const names = heads.map((head) => {
    const cell = make("th", { cls: head.startsWith(">") ? "number" : "", text: head.replace(/^>/, "") });
    cell.scope = "col";
    return cell;
  });
  const body = rows.slice(0, ROWS_MAX).map((row) => make("tr", {
    children: row.map((cell, at) => {
      const td = make("td", { cls: heads[at].startsWith(">") ? "number" : "" });
      td.append(cell instanceof Node ? cell : String(cell));
      return td;
    }),
  }));
  const whole = make("table", {
    children: [make("thead", { children: [make("tr", { children: names })] }), make("tbody", { children: body })],
  });
  if (rows.length <= ROWS_MAX) return whole;
  return make("div", { children: [whole, make("p", { cls: "quiet", text: `and ${rows.length - ROWS_MAX} more` })] });
}

function place(id, node, count = null) {
  byId(id).replaceChildren(node);
  if (count !== null) byId(`n-${id}`).textContent = count;
}

function drawHead(status) {
  byId("store").textContent = status.store;
  document.title = `Store ${status.store}: ${status.state}`;
  const badge = byId("state");
  badge.className = `badge ${tones[status.state] ?? ""}`;
  // Announced by screen readers, so it is touched only when it changes.
  if (badge.textContent !== status.state) badge.textContent = status.state;
  badge.title = (status.reasons ?? []).join("\n");
  const sync = status.sync;
  const facts = [
    ["HQ", !sync.configured ? "none" : sync.connected ? "connected" : "offline"],
    ["behind", `${sync.lag} events`],
    ["clock", status.clock],
    ["ledger", `${status.ledger.head} events, ${size(status.ledger.bytes)}`],
    ["up", duration(status.uptime_s)],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) =>
    make("div", { children: [make("dt", { text: name }), make("dd", { text: value })] })));
}

/** Which device, since when, why, and what to do; gone when everything works. */
function drawTroubles(status) {
  const troubles = status.troubles ?? [];
  byId("hands").hidden = troubles.length === 0;
  const names = (trouble) => trouble.devices.join(", ") +
    (trouble.count > trouble.devices.length ? ` and ${trouble.count - trouble.devices.length} more` : "");
  const since = (trouble) => (isNumber(trouble.since_ms)
    ? `${time(trouble.since_ms)} (${duration((status.now_ms - trouble.since_ms) / 1000)})` : "–");
  place("troubles", table(["Device", "State", "Since", "Why", "What to do"], troubles.map((trouble) => [
    names(trouble), word(trouble.state), since(trouble), `${trouble.cause}: ${trouble.reason}`, trouble.advice,
  ]), "Everything works."), troubles.length + (status.more_troubles ?? 0));
}

const count = (devices) => `${devices.filter((device) => device.state === "ok").length} of ${devices.length} ok`;

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The last hour as a line with holes where no good sample was, and the limits as dashed lines. */
function drawCurve(curve, label) {
  const svg = shape("svg", { class: "curve", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img" });
  const known = (curve?.points ?? []).filter((point) => isNumber(point.temperature_mc));
  if (known.length === 0) {
    svg.setAttribute("aria-label", `${label}: no curve yet`);
    return svg;
  }
  const limits = [curve.high_mc, curve.low_mc].filter(isNumber);
  const values = known.map((point) => point.temperature_mc).concat(limits);
  const [least, most] = [Math.min(...values) - 500, Math.max(...values) + 500];
  const y = (mc) => (38 - (36 * (mc - least)) / (most - least)).toFixed(2);
  const begin = curve.points[0].at_ms;
  const span = Math.max(1, curve.points[curve.points.length - 1].at_ms - begin);
  let path = "";
  let pen = "M";
  for (const point of curve.points) {
    if (!isNumber(point.temperature_mc)) { pen = "M"; continue; }
    path += `${pen}${((100 * (point.at_ms - begin)) / span).toFixed(2)} ${y(point.temperature_mc)}`;
    pen = "L";
  }
  for (const limit of limits) svg.append(shape("line", { x1: 0, x2: 100, y1: y(limit), y2: y(limit) }));
  svg.append(shape("path", { d: path }));
  const range = known.map((point) => point.temperature_mc);
  svg.setAttribute("aria-label", `${label}: ${celsius(Math.min(...range))} to ${celsius(Math.max(...range))} in the last hour`);
  return svg;
}

function cabinetCard(device, alarmed) {
  const reading = device.reading ?? {};
  const over = isNumber(reading.temperature_mc) &&
    ((isNumber(reading.high_mc) && reading.temperature_mc > reading.high_mc) ||
      (isNumber(reading.low_mc) && reading.temperature_mc < reading.low_mc));
  const limit = isNumber(reading.high_mc) ? `limit ${celsius(reading.high_mc)}` : "";
  const phase = reading.phase && reading.phase !== "normal" ? reading.phase : "";
  const silent = device.state === "lost" || device.state === "failed";
  const own = (reading.alarms ?? []).join(", ");
  const note = reading.fault || device.reason || [own, phase, limit].filter(Boolean).join(", ");
  return make("article", {
    cls: `card ${alarmed.has(device.id) || silent || reading.fault || own ? "bad" : ""}`,
    children: [
      make("h3", { children: [make("span", { text: device.id }), word(device.state)] }),
      // A silent device has no current value: the last one would read like one.
      make("p", { cls: `value ${over && !silent ? "bad-text" : ""}`, text: reading.fault ? "fault" : silent ? "–" : celsius(reading.temperature_mc) }),
      drawCurve(curves.get(device.id), device.id),
      make("p", { cls: "note", text: note }),
    ],
  });
}

function drawDevices(devices, alarms) {
  const of = (cls) => devices.filter((device) => device.class === cls);
  const alarmed = new Set(alarms.filter((alarm) => alarm.state !== "returned").map((alarm) => alarm.device));
  const [cabinets, scales, steamers, tags] = [of("cabinet"), of("scale"), of("steamer"), of("tag")];
  byId("n-cabinets").textContent = count(cabinets);
  byId("cabinets").replaceChildren(...cabinets.map((device) => cabinetCard(device, alarmed)));
  place("scales", table(["Scale", "State", "Shows", ">Net"], scales.map((device) => [
    device.id, word(device.state), word(device.reading?.state ?? "–"),
    isNumber(device.reading?.net_g) ? `${device.reading.net_g} g` : "–",
  ]), "No scales configured."), count(scales));
  place("steamers", table(["Steamer", "State", "Mode", ">Chamber", ">Core"], steamers.map((device) => [
    device.id, word(device.state), device.reading?.mode ?? "–", celsius(device.reading?.chamber_mc), celsius(device.reading?.core_mc),
  ]), "No steamers configured."), count(steamers));
  // Tags that need a look come first: there may be thousands.
  const trouble = (device) => (device.state === "ok" ? 0 : 2) + (isNumber(device.reading?.wanted_minor) ? 1 : 0);
  tags.sort((a, b) => trouble(b) - trouble(a));
  place("tags", table(["Tag", "State", ">Article", ">Shows", ">To show", ">Battery"], tags.map((device) => [
    device.id, word(device.state), device.reading?.sku ?? "–", money(device.reading?.shown_minor),
    isNumber(device.reading?.wanted_minor) ? money(device.reading.wanted_minor) : "",
    isNumber(device.reading?.battery_mv) ? `${(device.reading.battery_mv / 1000).toFixed(2)} V` : "–",
  ]), "No tags configured."), count(tags));
}

function drawAlarms(alarms) {
  const active = alarms.filter((alarm) => alarm.state !== "returned");
  place("alarms", table(["Device", "Alarm", "State", ">Value", ">Limit", ">Since"], active.map((alarm) => [
    alarm.device, alarm.kind.replaceAll("-", " "), word(alarm.state), celsius(alarm.worst_mc ?? alarm.value_mc),
    celsius(alarm.limit_mc), time(alarm.since_ms),
  ]), "No active alarms."), active.length);
}

function drawBatches(batches) {
  const open = batches.filter((batch) => batch.state !== "sold-out" && batch.state !== "discarded");
  place("batches", table(["Batch", "Steamer", "Article", "State", ">Left", ">Sell by"], batches.map((batch) => [
    batch.id, batch.device, batch.name ?? batch.sku, word(batch.state),
    `${milli(batch.remaining_milli)} of ${milli(batch.quantity_milli)}`, time(batch.expires_ms),
  ]), "No batches today."), `${open.length} open`);
}

function drawStock(rows) {
  const fresh = rows.filter((row) => row.fresh);
  place("stock", table(["Article", "Lot", ">On hand", ">Reserved"], fresh.map((row) => [
    row.name ?? row.sku, row.lot || "–", `${milli(row.on_hand_milli)} ${row.unit ?? ""}`.trim(), milli(row.reserved_milli),
  ]), "No fresh food in stock."), fresh.length);
}

function drawSync(sync) {
  const brief = sync.brief;
  const link = !brief.configured ? "no HQ configured" : brief.connected ? "connected" : "offline";
  const lines = [make("p", { cls: "quiet", children: [word(link), ` ${brief.lag} events behind, ${sync.quarantined} messages kept aside`] })];
  if (!brief.connected && sync.last_error) lines.push(make("p", { cls: "quiet", text: sync.last_error }));
  lines.push(table(["Log", ">Head", ">Sent", ">Acknowledged"], sync.logs.map((log) => [log.log, log.head, log.sent, log.acked]), "No logs yet."));
  place("sync", make("div", { children: lines }));
}

/** Asks for the curves of a few cabinets, in turn. A cabinet without one keeps its old curve. */
async function refreshCurves(devices, signal) {
  const ids = devices.filter((device) => device.class === "cabinet").map((device) => device.id);
  for (const id of curves.keys()) if (!ids.includes(id)) curves.delete(id);
  const missing = ids.filter((id) => !curves.has(id));
  const turn = ids.length === 0 ? [] : Array.from({ length: CURVES_PER_ROUND }, (_, at) => ids[(nextCurve + at) % ids.length]);
  nextCurve += CURVES_PER_ROUND;
  const wanted = [...new Set([...missing.slice(0, 3 * CURVES_PER_ROUND), ...turn])];
  await Promise.allSettled(wanted.map(async (id) => {
    curves.set(id, await ask(`/v1/cabinets/${encodeURIComponent(id)}/curve?minutes=${CURVE_MINUTES}`, signal));
  }));
}

function away(reason) {
  const box = byId("away");
  const since = lastGood === 0 ? "" : ` for ${duration((Date.now() - lastGood) / 1000)}`;
  box.textContent = `The store daemon does not answer${since}. What you see is old. (${reason})`;
  box.hidden = false;
  byId("main").classList.add("stale");
  byId("state").textContent = "away";
  byId("state").className = "badge bad-text";
}

async function round() {
  const stop = new AbortController();
  const deadline = setTimeout(() => stop.abort(), DEADLINE_MS);
  try {
    const paths = ["status", "devices", "alarms", "batches", "stock", "sync"];
    const answers = await Promise.all(paths.map((path) => ask(`/v1/${path}`, stop.signal)));
    const [status, devices, alarms, batches, stock, sync] = answers;
    await refreshCurves(devices.devices, stop.signal);
    drawHead(status);
    drawTroubles(status);
    drawAlarms(alarms.alarms);
    drawDevices(devices.devices, alarms.alarms);
    drawBatches(batches.batches);
    drawStock(stock.rows);
    drawSync(sync);
    lastGood = Date.now();
    byId("away").hidden = true;
    byId("main").classList.remove("stale");
  } catch (error) {
    away(error.name === "AbortError" ? `no answer within ${DEADLINE_MS / 1000} s` : error.message);
  } finally {
    clearTimeout(deadline);
    // The next round begins after this one: a slow daemon is not asked faster than it answers. Hidden pages ask rarely.
    setTimeout(round, document.hidden ? 15 * ROUND_MS : ROUND_MS);
  }
}

round();
