//! Words: made safe to show, counted, and put into sentences.

/// `text` without anything that could move the cursor, turn the reading direction or hide.
///
/// Names of models, apps and servers come from elsewhere; what they hold must not play with the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `1 model`, `2 models`, `no models`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// `text` with a full stop, and with a capital first letter where it begins with a plain word, not with a name.
pub(crate) fn sentence(text: &str) -> String {
    let text = clean(text);
    let text = text.trim();
    let stop = if text.is_empty() || text.ends_with(['.', '!', '?']) { "" } else { "." };
    let first_word = text.split(' ').next().unwrap_or("");
    if first_word.is_empty() || !first_word.chars().all(char::is_lowercase) {
        return format!("{text}{stop}");
    }
    let mut letters = text.chars();
    let first = letters.next().map_or_else(String::new, |first| first.to_uppercase().to_string());
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_plays_with_the_terminal_is_shown() {
        for (given, shown) in [
            ("llama3.2:3b", "llama3.2:3b"),
            ("a\u{1b}[2Jb", "a[2Jb"),
            ("a\r\nb\tc", "abc"),
            ("a\u{9b}31mb", "a31mb"),
            ("evil\u{202e}txt.exe", "eviltxt.exe"),
            ("schön 模型", "schön 模型"),
        ] {
            assert_eq!(clean(given), shown);
        }
    }

    #[test]
    fn sentences_begin_and_end() {
        for (given, said) in [
            ("connection refused", "Connection refused."),
            ("Done.", "Done."),
            ("  ", ""),
            ("élan", "Élan."),
            ("http://127.0.0.1:1 is down", "http://127.0.0.1:1 is down."),
            ("llama3 is loading", "llama3 is loading."),
            ("`ollama` broke off", "`ollama` broke off."),
        ] {
            assert_eq!(sentence(given), said);
        }
    }
}
