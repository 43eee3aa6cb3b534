// Reads server-sent events from a response's bytes, as https://html.spec.whatwg.org/#event-stream-interpretation says.

export interface ServerEvent {
  kind: string;
  id: string;
  data: string;
}

/** Turns pieces of text into events; keeps what is not complete yet. */
export class EventReader {
  private rest = "";
  private id = "";

  push(text: string): ServerEvent[] {
    this.rest += text;
    const events: ServerEvent[] = [];
    for (;;) {
      const end = /\r?\n\r?\n/.exec(this.rest);
      if (!end) return events;
      const event = this.read(this.rest.slice(0, end.index));
      this.rest = this.rest.slice(end.index + end[0].length);
      if (event) events.push(event);
    }
  }

  private read(block: string): ServerEvent | undefined {
    let kind = "message";
    const data: string[] = [];
    for (const line of block.split(/\r?\n/)) {
      const at = line.indexOf(":");
      const field = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
      if (field === "event") kind = value;
      else if (field === "data") data.push(value);
      else if (field === "id") this.id = value;
    }
    return data.length > 0 ? { kind, id: this.id, data: data.join("\n") } : undefined;
  }
}
