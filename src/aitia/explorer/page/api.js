// Requests to the server that served the page. Addresses are relative, so the token in them never leaves the page.

export class Refused extends Error {}

let lost = null;
/** `act(text)` is called when the server stops answering, and with null when it answers again. */
export function whenLost(act) { lost = act; }

export async function ask(path, body = null, signal = undefined) {
  let answer;
  try {
    answer = await fetch(`api/${path}`, {
      method: body === null ? "GET" : "POST",
      headers: body === null ? {} : { "content-type": "application/json" },
      body: body === null ? undefined : JSON.stringify(body),
      credentials: "omit",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost?.("The explorer does not answer. Start `aitia explore` again, and put this behind the new address to see the same view:");
    throw new Refused("the explorer does not answer");
  }
  lost?.(null);
  const found = await answer.json().catch(() => ({ error: `the answer is no JSON (status ${answer.status})` }));
  if (!answer.ok) throw new Refused(found.error ?? `status ${answer.status}`);
  return found;
}

/** The same, of the rows with that number. */
export const ofRows = (data, path, body = null, signal = undefined) => ask(`rows/${data}/${path}`, body, signal);
