
/* Answers stay in this browser until the reader saves them to a file. */
class FileBackend {
  constructor(settings, data) {
    this.settings = settings;
    this.data = data;
    this.name = "echocascade study " + data.study + " " + data.reader;
    this.memory = [];
    this.kept = true;
    this.exported = 0;
    byId("export").hidden = false;
    byId("export").addEventListener("click", () => this.saveFile());
    window.addEventListener("beforeunload", (event) => {
      if (!this.kept && this.read().length > this.exported) { event.preventDefault(); event.returnValue = ""; }
    });
  }

  /* Read anew each time: another tab may have answered. */
  read() {
    try {
      const text = localStorage.getItem(this.name);
      const found = text === null ? [] : JSON.parse(text);
      return found.length >= this.memory.length ? found : this.memory;
    } catch (error) {
      this.kept = false;
      return this.memory;
    }
  }

  write(answers) {
    this.memory = answers;
    try {
      localStorage.setItem(this.name, JSON.stringify(answers));
      this.kept = localStorage.getItem(this.name) !== null;
    } catch (error) {
      this.kept = false;
    }
  }

  now() {
    const answered = new Set(this.read().map((answer) => answer.trial));
    const trials = this.data.trials;
    const place = trials.findIndex((trial) => !answered.has(trial.id));
    const position = place < 0 ? trials.length : place;
    const practice = trials.filter((trial) => trial.practice).length;
    const trial = place < 0 ? null
      : {id: trials[place].id, clips: trials[place].clips.length, practice: trials[place].practice};
    return {position, total: trials.length, practice, trial};
  }

  async state() { return this.now(); }

  async clip(id, place) {
    const trial = this.data.trials.find((each) => each.id === id);
    const raw = atob(trial.clips[place]);
    const bytes = Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
    return new Blob([bytes], {type: "video/mp4"});
  }

  async save(answer) {
    const answers = this.read();
    const before = answers.find((each) => each.trial === answer.trial);
    if (!before) this.write(answers.concat([answer]));
    return Object.assign({first: !before || before.attempt === answer.attempt}, this.now());
  }

  saveFile() {
    const answers = this.read();
    const payload = JSON.stringify({
      format: 1, study: this.data.study, digest: this.data.digest, reader: this.data.reader,
      exported: new Date().toISOString(), answers,
    });
    const signed = JSON.stringify({payload, signature: hmacSha256Hex(this.data.signing_key, payload)});
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([signed], {type: "application/json"}));
    link.download = "answers-" + this.data.reader + "-" + answers.length + ".json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.exported = answers.length;
  }

  warning() {
    return this.kept ? "" : "This browser keeps nothing: save your answers to a file before you close the page.";
  }

  finished() {
    byId("export").classList.add("primary");
    return "Save your answers to a file with the button at the top, and send that file back. "
      + "Until then they are in this browser alone.";
  }
}

new ReadingPage(
  JSON.parse(byId("settings").textContent),
  new FileBackend(JSON.parse(byId("settings").textContent), JSON.parse(byId("data").textContent)),
).run();
