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

/// `text` with a capital first letter and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let text = clean(text);
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
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
        for (given, said) in
            [("connection refused", "Connection refused."), ("Done.", "Done."), ("  ", ""), ("élan", "Élan.")]
        {
            assert_eq!(sentence(given), said);
        }
    }
}
