//! Programs that listen without anybody being in a meeting: filters, mixers, dictation, assistants, volume controls.

/// Names of such programs, as words, comma between.
const KNOWN: &[&str] = &[
    // Filters between the microphone and other programs, and mixers.
    "krisp, wave link, easy effects, pulseeffects, noise torch, rnnoise, nvidia broadcast, rtx voice, voicemeeter",
    "voicemod, soundsource, audio hijack, loopback, blackhole, sonar, goxlr, rode connect, carla, jackd, qjackctl",
    "cadence, dolby access, equalizer apo, helvum, qpwgraph",
    // Streaming and virtual cameras.
    "obs, streamlabs, xsplit, camo, droidcam, iriun, epoccam, mmhmm, snap camera",
    // Dictation.
    "dictation, openwhispr, superwhisper, macwhisper, whisper, wispr, talon, dragon, voice access, voice control",
    "voice typing, speech recognition, speech note, corespeechd, speechruntime, textinputhost",
    // Assistants that wait for their name.
    "siri, assistantd, cortana, alexa, google assistant, home assistant, rhasspy, wyoming, mycroft, ovos",
    "openwakeword, porcupine, snowboy",
    // Sleep, sound and level meters.
    "sleep cycle, snorelab, pavucontrol, pulseaudio volume control, pwvucontrol, gnome control center, gnome settings",
    "gnome shell, plasmashell, plasma pa, kded, systemsettings, cava, projectm, shazam",
];

/// Whether a program of that name listens all day long, as far as is known.
pub fn is_ambient(app: &str) -> bool {
    let name = words(app);
    KNOWN.iter().flat_map(|line| line.split(',')).any(|known| {
        let known = words(known);
        let joined = known.concat();
        name.windows(known.len()).any(|part| part == known)
            || name.iter().any(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()) == joined)
    })
}

/// The words of a name: also of file names, identifiers of bundles, and with the end that programs have on Windows.
fn words(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && *word != "exe");
    words.map(str::to_owned).collect()
}
