//! Turns what `--help` says into a manual page, so that the two never differ.

use std::fmt::Write as _;

/// The page of `program`: its first line is the name, `Usage:` the synopsis, each headline a section, each indented line that
/// has a name and an explanation an entry.
pub(super) fn page(program: &str, version: &str, help: &str) -> String {
    let mut lines = help.lines();
    let about = lines.next().unwrap_or_default().trim_end_matches('.');
    let mut page = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(page, ".TH {} 1 \"\" \"Herd {version}\" \"User Commands\"", program.to_uppercase());
    let _ = writeln!(page, ".SH NAME\n{program} \\- {}", escaped(about));
    let mut section = "DESCRIPTION".to_owned();
    for line in lines {
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        if let Some(usage) = text.strip_prefix("Usage:") {
            let _ = writeln!(page, ".SH SYNOPSIS\n.B {}", escaped(usage.trim()));
            section = "SYNOPSIS".to_owned();
        } else if !line.starts_with(' ') && text.ends_with(':') {
            section = text.trim_end_matches(':').to_uppercase();
            let _ = writeln!(page, ".SH {}", escaped(&section));
        } else if !line.starts_with(' ') {
            if section != "DESCRIPTION" || !page.contains(".SH DESCRIPTION") {
                section = "DESCRIPTION".to_owned();
                page.push_str(".SH DESCRIPTION\n");
            }
            let _ = writeln!(page, "{}\n.PP", escaped(text));
        } else if section == "SYNOPSIS" {
            let _ = writeln!(page, ".br\n.B {}", escaped(text));
        } else {
            match text.split_once("  ") {
                Some((name, about)) => {
                    let _ = writeln!(page, ".TP\n.B {}\n{}", escaped(name), escaped(about.trim()));
                }
                None => {
                    let _ = writeln!(page, "{}", escaped(text));
                }
            }
        }
    }
    page
}

/// `text` without what roff reads as its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_becomes_a_page() {
        let help = "One endpoint.\n\nUsage: herd [OPTIONS]\n       herd x\n\nCommands:\n  serve   Run it\n\nOptions:\n      \
                    --json  Say it in JSON\n\nExit codes: 0 done.\n";
        let expected = ".TH HERD 1 \"\" \"Herd 1.2\" \"User Commands\"\n.SH NAME\nherd \\- One endpoint\n.SH SYNOPSIS\n\
                        .B herd [OPTIONS]\n.br\n.B herd x\n.SH COMMANDS\n.TP\n.B serve\nRun it\n.SH OPTIONS\n.TP\n\
                        .B \\-\\-json\nSay it in JSON\n.SH DESCRIPTION\nExit codes: 0 done.\n.PP\n";
        assert_eq!(page("herd", "1.2", help), expected);
    }
}
