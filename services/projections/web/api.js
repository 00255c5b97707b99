// Asks projections over HTTP. The token lives in this tab's sessionStorage and in no address.

const TOKEN_KEY = "cacah-token";
const TIMEOUT_MS = 12000; // projections themselves give up waiting after 10 s
const VISIBLE_ASCII = /^[\x21-\x7e]+$/; // what a header can carry

/** No answer came; the numbers on the screen may be old. */
export class NoAnswerError extends Error {}

/** The service refused: `status`, and `kind` and `fields` of its RFC 9457 problem. */
export class RefusedError extends Error {
  constructor(status, problem) {
    super(problem.detail || `HTTP ${status}`);
    this.status = status;
    this.kind = String(problem.type || "").split("/").pop();
    this.fields = (problem.errors || []).map((error) => error.field);
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY),
  set: (value) => sessionStorage.setItem(TOKEN_KEY, value),
  forget: () => sessionStorage.removeItem(TOKEN_KEY),
  isSendable: (value) => VISIBLE_ASCII.test(value),
};

/** A path with parameters, each encoded; undefined ones are left out. */
function address(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return query ? `${path}?${query}` : path;
}

/** The JSON at an address. Throws NoAnswerError or RefusedError. */
export async function get(path, parameters) {
  const headers = { Authorization: `Bearer ${token.get()}`, Accept: "application/json" };
  const answer = await fetched(address(path, parameters), headers);
  return bodyOf(answer);
}

/** The JSON at an address that needs no token. Throws as `get` does. */
export const getPublic = async (path) => bodyOf(await fetched(path, {}));

function bodyOf({ ok, status, body }) {
  if (!ok) throw new RefusedError(status, body || {});
  if (body === null) throw new NoAnswerError("cut off");
  return body;
}

/** What the service waits for, by name; none when it is ready. Throws NoAnswerError. */
export async function waitingFor() {
  const { ok, status, body } = await fetched("/readyz", {});
  return ok ? [] : (body && body.waiting_for) || [`HTTP ${status}`];
}

async function fetched(url, headers) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      headers,
      signal: giveUp.signal,
      cache: "no-store",
      credentials: "omit",
    });
    const body = await response.json().catch(() => null);
    return { ok: response.ok, status: response.status, body };
  } catch (error) {
    throw new NoAnswerError(error.message);
  } finally {
    clearTimeout(timer);
  }
}
