// Tells `cargo xtask` how many tests there were, in the words that it adds up.
export default class Tally {
  onTestRunEnd(modules, errors) {
    const counts = { pass: 0, fail: errors.length, skipped: 0 };
    for (const module of modules) {
      counts.fail += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === "passed" ? "pass" : state === "failed" ? "fail" : "skipped"] += 1;
      }
    }
    for (const [word, count] of Object.entries(counts)) console.log(`# ${word} ${count}`);
  }
}
