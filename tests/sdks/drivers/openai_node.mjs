// npm's openai: everything that its users do. Prints what it saw, as tests/sdks/drivers/seen.py does.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [environment, baseUrl] = process.argv.slice(2);
const home = `${environment}/node_modules/openai`;
const { default: OpenAI, toFile } = await import(pathToFileURL(`${home}/index.mjs`));
const { version } = JSON.parse(readFileSync(`${home}/package.json`));

const AT_A_TIME = 6;
const PER_HOP = new Set(["date", "connection", "keep-alive", "transfer-encoding", "content-length"]);
const ASK = [{ role: "user", content: "How high is the tide? \u2028 \u{1f30a}" }];
const PNG = Buffer.from(Array.from({ length: 102400 }, (_, i) => i % 256)).toString("base64");
const PICTURE = [
  {
    role: "user",
    content: [
      { type: "text", text: "What is this?" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } },
    ],
  },
];
const SHAPE = { type: "object", properties: { city: { type: "string" } } };
const TOOL = { type: "function", function: { name: "get_weather", parameters: SHAPE } };
const RESPONSES_TOOL = { type: "function", name: "get_weather", parameters: SHAPE, strict: false };
const SCHEMA = { type: "json_schema", json_schema: { name: "weather", schema: SHAPE, strict: true } };

const plain = (value) => (value === undefined ? null : JSON.parse(JSON.stringify(value)));

function fault(error) {
  const classes = [];
  for (let kind = Object.getPrototypeOf(error); kind; kind = Object.getPrototypeOf(kind)) {
    classes.push(kind.constructor.name);
  }
  const { status, code, type, param, requestID, error: body } = error;
  const told = plain({ status, code, type, param, requestID, body });
  const cause = error.cause ? [error.cause.constructor.name, error.cause.message] : null;
  return { class: classes, text: error.message, ...told, cause };
}

async function collected(events) {
  const got = [];
  try {
    for await (const event of events) got.push(plain(event));
  } catch (error) {
    return { events: got, error: fault(error) };
  }
  return { events: got };
}

function client(trail, maxRetries = 0, more = {}) {
  const noted = async (url, init) => {
    const response = await fetch(url, init);
    const headers = [...response.headers].filter(([name]) => !PER_HOP.has(name));
    trail.answers.push({ status: response.status, headers });
    return response;
  };
  return new OpenAI({
    baseURL: `${baseUrl}/v1`,
    apiKey: "sk-test",
    maxRetries,
    defaultHeaders: { "x-scenario": trail.scenario },
    fetch: noted,
    ...more,
  });
}

const chat = (model = "tide", body = {}, retries = 0) => (trail) =>
  client(trail, retries).chat.completions.create({ model, messages: ASK, ...body });

const stream = (model = "tide", body = {}, retries = 0) => async (trail) =>
  collected(await chat(model, { stream: true, ...body }, retries)(trail));

const respond = (body = {}) => (trail) =>
  client(trail).responses.create({ model: "respond", input: "When is high water?", ...body });

const respondStream = (body = {}) => async (trail) =>
  collected(await respond({ stream: true, ...body })(trail));

async function helper(trail) {
  const events = client(trail).chat.completions.stream({ model: "tide", messages: ASK, tools: [TOOL] });
  return [await collected(events), await events.finalChatCompletion()];
}

async function parsed(trail) {
  return client(trail).chat.completions.parse({ model: "json", messages: ASK, response_format: SCHEMA });
}

async function embeddings(trail) {
  const api = client(trail);
  const packed = await api.embeddings.create({ model: "embed", input: ["ebb", "flood"] });
  return [packed, await api.embeddings.create({ model: "embed", input: "a", encoding_format: "float" })];
}

async function models(trail) {
  const api = client(trail);
  const all = [];
  for await (const model of api.models.list()) all.push(model);
  return [all, await api.models.retrieve("org/ebb")];
}

async function speech(trail) {
  const answer = await client(trail).audio.speech.create({ model: "speak", voice: "alloy", input: "Hello" });
  return Buffer.from(await answer.arrayBuffer()).toString("latin1");
}

async function transcription(trail) {
  const file = await toFile(Buffer.alloc(25600, "tide"), "a.wav");
  return client(trail).audio.transcriptions.create({ model: "hear", file });
}

async function keptConnection(trail) {
  const api = client(trail);
  const got = [];
  for (const model of ["tide", "error-400", "tide"]) {
    got.push(await api.chat.completions.create({ model, messages: ASK }).catch(fault));
    const events = await api.chat.completions.create({ model: "tide", messages: ASK, stream: true });
    got.push(await collected(events));
  }
  return got;
}

async function left(trail) {
  const api = client(trail);
  const events = await api.chat.completions.create({ model: "hold", messages: ASK, stream: true });
  const got = [];
  for await (const event of events) {
    got.push(plain(event));
    if (got.length === 2) break; // leaving the loop ends the request
  }
  return [...got, await api.models.retrieve("until-left")];
}

async function leftBySignal(trail) {
  const api = client(trail);
  const leaving = new AbortController();
  const body = { model: "hold", messages: ASK, stream: true };
  const events = await api.chat.completions.create(body, { signal: leaving.signal });
  const got = [];
  for await (const event of events) {
    got.push(plain(event));
    if (got.length === 2) leaving.abort();
  }
  return [...got, await api.models.retrieve("until-left")];
}

const patient = (model, streamed) => async (trail) => {
  const api = client(trail, 0, { timeout: 2000 });
  return api.chat.completions.create({ model, messages: ASK, stream: streamed });
};

const SCENARIOS = {
  "chat": chat(),
  "chat-stream": stream(),
  "chat-stream-usage": stream("tide", { stream_options: { include_usage: true } }),
  "chat-stream-null-usage": stream("null-usage"),
  "chat-stream-null-usage-asked": stream("null-usage", { stream_options: { include_usage: true } }),
  "chat-stream-no-usage": stream("tide", { stream_options: { include_usage: false } }),
  "chat-stream-no-options": stream("no-options"),
  "chat-stream-seams": stream("seams"),
  "chat-stream-comments": stream("comments"),
  "chat-stream-crlf": stream("crlf"),
  "chat-helper": helper,
  "tools": chat("tide", { tools: [TOOL] }),
  "tools-stream": stream("tide", { tools: [TOOL] }),
  "json": chat("json", { response_format: { type: "json_object" } }),
  "json-stream": stream("json", { response_format: { type: "json_object" } }),
  "json-schema": parsed,
  "logprobs": chat("tide", { logprobs: true, top_logprobs: 1 }),
  "logprobs-stream": stream("tide", { logprobs: true, top_logprobs: 1 }),
  "choices": chat("tide", { n: 3 }),
  "choices-stream": stream("tide", { n: 3 }),
  "image": chat("tide", { messages: PICTURE }),
  "image-stream": stream("tide", { messages: PICTURE }),
  "completions": (trail) => client(trail).completions.create({ model: "base", prompt: "The tide" }),
  "completions-stream": async (trail) =>
    collected(await client(trail).completions.create({ model: "base", prompt: "The tide", stream: true })),
  "embeddings": embeddings,
  "models": models,
  "responses": respond(),
  "responses-stream": respondStream(),
  "responses-tools": respond({ tools: [RESPONSES_TOOL] }),
  "responses-tools-stream": respondStream({ tools: [RESPONSES_TOOL] }),
  "responses-failed": respondStream({ model: "failed" }),
  "responses-cut": respondStream({ model: "cut-fin" }),
  "speech": speech,
  "transcription": transcription,
  "kept-connection": keptConnection,
  ...Object.fromEntries([400, 401, 404, 429, 500, 503].map((n) => [`error-${n}`, chat(`error-${n}`)])),
  ...Object.fromEntries([400, 429, 500].map((n) => [`error-${n}-stream`, stream(`error-${n}`)])),
  "error-event": stream("error-event"),
  "retries-429": chat("error-429", {}, 2),
  "retries-503": chat("error-503", {}, 2),
  "retries-flaky": chat("flaky-503", {}, 2),
  "retries-flaky-stream": stream("flaky-500", {}, 2),
  "retries-unwanted": chat("unwilling-500", {}, 2),
  "left": left,
  "left-by-signal": leftBySignal,
  "timeout": patient("stall", false),
  "cut-fin": stream("cut-fin"),
  "cut-reset": stream("cut-reset"),
  "unended": stream("unended"),
  "hang-up": chat("hang-up", {}, 1),
};

const seen = {};
const names = Object.keys(SCENARIOS);

async function work() {
  for (let name = names.shift(); name; name = names.shift()) {
    const trail = { scenario: name, answers: [] };
    try {
      seen[name] = { result: plain(await SCENARIOS[name](trail)) };
    } catch (error) {
      seen[name] = { error: fault(error) };
    }
    seen[name].answers = trail.answers;
  }
}

await Promise.all(Array.from({ length: AT_A_TIME }, work));
process.stdout.write(JSON.stringify({ client: `openai ${version} for Node ${process.version}`, scenarios: seen }), () =>
  process.exit(0),
);
