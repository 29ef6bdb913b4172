
/* Answers go to the server that sent this page. */
class RoomBackend {
  constructor() { this.base = location.pathname.replace(/\/+$/, ""); }

  async ask(path, options, saving) {
    const trouble = saving ? "Not saved yet, retrying …" : "No connection, retrying …";
    let reply;
    try {
      reply = await fetch(this.base + path, Object.assign({cache: "no-store", credentials: "omit"}, options));
    } catch (error) {
      throw new Problem(trouble, true);
    }
    if (reply.ok) return reply;
    if (reply.status >= 500 || reply.status === 429 || reply.status === 408) throw new Problem(trouble, true);
    const problem = reply.status === 404
      ? new Problem("This link is not known here. Please check it, or ask who sent it to you.", false, "Unknown link")
      : new Problem("The server did not take this (" + reply.status + "). Please tell who sent you here.", false);
    problem.status = reply.status;
    throw problem;
  }

  async read(reply, saving) {  // a connection may also break in the middle of a reply
    try {
      return await reply;
    } catch (error) {
      throw new Problem(saving ? "Not saved yet, retrying …" : "No connection, retrying …", true);
    }
  }

  async state() { return this.read((await this.ask("/state")).json()); }

  async clip(trial, place) {
    try {
      return await this.read((await this.ask("/clip/" + trial + "/" + place)).blob());
    } catch (problem) {
      problem.moved = problem.status === 404;
      throw problem;
    }
  }

  async save(answer) {
    const options = {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(answer),
    };
    return this.read((await this.ask("/answer", options, true)).json(), true);
  }

  warning() { return ""; }

  finished() { return "All answers are saved. You can close this page."; }
}

new ReadingPage(JSON.parse(byId("settings").textContent), new RoomBackend()).run();
