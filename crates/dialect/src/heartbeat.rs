//! Records that say nothing, for a client that has to wait.

use bytes::Bytes;
use proto::{Api, Dialect};

use crate::json_string;

/// A record that says nothing but keeps the client waiting; `None` for calls whose answer is not streamed.
///
/// `model` is the name the client asked for, `unix_ms` the time in milliseconds since 1970.
pub fn heartbeat(api: Api, model: &str, unix_ms: u64) -> Option<Bytes> {
    // A blank line would be shorter, but ollama-python tries to read it as JSON and fails (measured, November 2026).
    let empty = match api {
        Api::OllamaChat => r#""message":{"role":"assistant","content":""}"#,
        Api::OllamaGenerate => r#""response":"""#,
        // The SDKs skip comments, and nothing else that an event could be.
        Api::ChatCompletions | Api::Completions | Api::Responses => return Some(Bytes::from_static(b": waiting\n\n")),
        Api::Messages => return Some(Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n")),
        Api::OllamaEmbed
        | Api::OllamaEmbeddings
        | Api::OllamaShow
        | Api::Embeddings
        | Api::CountTokens
        | Api::Transcriptions => return None,
    };
    let mut line = br#"{"model":"#.to_vec();
    line.extend_from_slice(&json_string(model));
    line.extend_from_slice(format!(r#","created_at":"{}",{empty},"done":false}}"#, rfc3339(unix_ms)).as_bytes());
    line.push(b'\n');
    Some(line.into())
}

/// The content type of a streamed answer.
pub fn stream_content_type(api: Api) -> &'static str {
    match api.dialect() {
        Dialect::Ollama => "application/x-ndjson",
        Dialect::OpenAi | Dialect::Anthropic => "text/event-stream",
    }
}

/// The time in UTC, to the millisecond. Years beyond 9999 are cut off at its end, since the format ends there.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let unix_ms = unix_ms.min(LAST);
    let (days, of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of the `days`-th day after 1 January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of a year divisible by 400, so that leap days come last in each cycle.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is 0; the months from March on have 31 30 31 30 31 days twice over, 153 days each time.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let january_or_february = month >= 10;
    let year = era * 400 + year_of_era + u64::from(january_or_february);
    (year, if january_or_february { month - 9 } else { month + 3 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ollama_writes_them() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_260_655_353, "2026-11-21T11:30:55.353Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

    #[test]
    fn a_heartbeat_says_nothing() {
        let chat = heartbeat(Api::OllamaChat, "a\"b", 0).unwrap();
        let expected = r#"{"model":"a\"b","created_at":"1970-01-01T00:00:00.000Z","message":{"role":"assistant","content":""},"done":false}"#;
        assert_eq!(chat, format!("{expected}\n"));
        for api in Api::ALL {
            let Some(beat) = heartbeat(api, "tiny", 1) else { continue };
            let mut watch = crate::StreamWatch::new(api, true);
            assert_eq!(watch.feed(&beat), crate::Seen::default(), "{api:?}");
            let end = watch.finish();
            assert!(!end.complete && !end.mid_record, "{api:?}: {end:?}");
        }
        assert_eq!(heartbeat(Api::Embeddings, "tiny", 1), None);
    }
}
